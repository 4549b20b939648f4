"""Each piece of 4-bit training by what it promises: exactness, expectation, variance."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")

from veilform.errors import InputError  # noqa: E402
from veilform.quant import hadamard, lsq, luq, products, sampling, splitting  # noqa: E402
from veilform.quant.arithmetic import FOUR, Integers, backward, by_sampling  # noqa: E402

DRAWS = 10_000


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


def within_three_errors(draws, expected):
    """Whether the mean of draws (D, ...) is what is expected: Hotelling's T squared.

    Elements share their noise, so they are first turned into directions that do not. The sum of
    their squared z is then chi squared with r degrees of freedom: mean r, variance 2 r.
    """
    draws = draws.flatten(1).double()
    off = draws.mean(0) - expected.flatten()
    variances, directions = torch.linalg.eigh(torch.cov(draws.T))
    free = variances > 1e-9 * variances[-1]
    along = directions.T @ off
    # Where there is no noise, such as for the largest gradient, there is no error either.
    assert free.all() or along[~free].abs().max() < 1e-4
    rank = int(free.sum())
    t2 = float((along[free].square() / variances[free]).sum() * len(draws))
    return (t2 - rank) / math.sqrt(2 * rank) < 3


@pytest.mark.parametrize("group", [2**i for i in range(11)])
def test_h_is_orthogonal_symmetric_and_its_own_inverse(group):
    h = hadamard.transform(torch.eye(group, dtype=torch.float64), group)
    assert torch.allclose(h @ h.T, torch.eye(group, dtype=torch.float64), atol=1e-12)
    assert torch.equal(h, h.T)


def test_blocks_do_not_mix():
    x = torch.randn(3, 12)
    whole = hadamard.transform(x, 4)
    for start in (0, 4, 8):
        part = slice(start, start + 4)
        assert torch.allclose(whole[:, part], hadamard.transform(x[:, part], 4))


def test_a_dimension_without_blocks():
    assert hadamard.groups(384) == [2, 4, 8, 16, 32, 64, 128]
    assert hadamard.groups(4096)[-1] == 1024
    with pytest.raises(InputError, match="dimension 385"):
        hadamard.groups(385)


def test_with_outliers_hadamard_halves_the_error():
    x, w = torch.randn(64, 128), torch.randn(96, 128) * 0.05
    x[:, 5] *= 60
    group = hadamard.choose(x, w)

    def error(group):
        operands = []
        for t in (x, w):
            turned = hadamard.transform(t, group)
            step = lsq.initial_step(turned)
            operands.append(lsq.quantise(turned, step) * step)
        return (operands[0] @ operands[1].T - x @ w.T).norm()

    assert group > 1
    assert error(group) <= error(1) / 2


def test_the_step_gradient_is_a_finite_difference_where_rounding_stays():
    """At a v whose rounding is certain, s (round(v) - v) + x is s q: its slope is round - v + v."""
    x = torch.tensor([0.9, -20.0, 20.0, 2.2])
    step = torch.tensor(1.0)
    by_x, by_step = lsq.gradients(torch.ones(4), x, step)
    assert by_x.tolist() == [1, 0, 0, 1]
    # Beyond the range s q(x / s) is -8 s or 7 s, whose slope a difference shows.
    h = 1e-3
    for value, expected in ((-20.0, -8.0), (20.0, 7.0)):
        up, down = (
            (lsq.quantise(torch.tensor(value), torch.tensor(s)) * s) for s in (1 + h, 1 - h)
        )
        assert float((up - down) / (2 * h)) == pytest.approx(expected, rel=1e-3)
    inside = (1 - 0.9) + (2 - 2.2)
    assert float(by_step) == pytest.approx((inside - 8 + 7) / math.sqrt(7 * 4), rel=1e-5)
    assert float(lsq.gradients(torch.ones(4), x, -step)[1]) == pytest.approx(-float(by_step))


def test_splitting_is_exact_in_range_and_unbiased():
    g = torch.randn(6, 5)
    parts = splitting.split(g)
    assert parts.high.abs().max() <= 8
    for part in (parts.high, parts.low):
        assert part.min() >= -8
        assert part.max() <= 7
    # One step is the most that rounding moves a gradient.
    assert ((16.0 * parts.high + parts.low) * parts.step - g).abs().max() <= parts.step * 1.001
    draws = torch.stack([
        (16.0 * p.high + p.low) * p.step for p in (splitting.split(g) for _ in range(DRAWS))
    ])  # fmt: skip
    assert within_three_errors(draws, g)


def test_every_whole_number_splits():
    for value in range(-splitting.MOST, splitting.MOST + 1):
        parts = splitting.split(torch.tensor([[float(value), float(splitting.MOST)]]))
        assert 16 * int(parts.high[0, 0]) + int(parts.low[0, 0]) == value


def test_logarithmic_quantisation_is_unbiased():
    g = torch.randn(4, 4)
    q, _ = luq.quantise(g)
    assert set(q.abs().flatten().tolist()) <= {0, 1, 2, 4, 8, 16, 32, 64}
    draws = torch.stack([q * step for q, step in (luq.quantise(g) for _ in range(DRAWS))])
    assert within_three_errors(draws, g)


@pytest.mark.parametrize("expected", [1.0, 7.5, 16.0, 31.0, 32.0])
def test_water_filling(expected):
    scores = torch.randn(32).exp().pow(3)
    p = sampling.probabilities(scores, expected)
    assert float(p.sum()) == pytest.approx(expected, rel=1e-5)
    assert p.max() <= 1
    partial = p < 1
    ratio = p[partial] / scores[partial]
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-4)
    # A full row would have had at least as much by the common factor.
    if partial.any():
        assert (scores[~partial] * ratio[0] >= 1 - 1e-4).all()


def test_rows_of_zero_are_dropped():
    p = sampling.probabilities(torch.tensor([0.0, 2.0, 0.0, 1.0]), 3.0)
    assert p.tolist() == [0, 1, 0, 1]
    assert sampling.probabilities(torch.zeros(3), 2.0).tolist() == [0, 0, 0]


def integers(rows, columns):
    q = torch.randint(-8, 8, (rows, columns), dtype=torch.int8)
    return Integers(q, torch.tensor(0.1), FOUR)


@pytest.mark.parametrize("method", ["int8", "lsq+luq", "hq+bs", "hq+lss"])
def test_gradients_are_unbiased(method):
    n, k, m = 8, 4, 3
    g, x, w = torch.randn(n, m), integers(n, k), integers(m, k)
    by_x, by_w = g @ (w.q * w.step), g.T @ (x.q * x.step)
    draws = [backward(method, g, x, w, (True, True), 0.5) for _ in range(DRAWS)]
    assert within_three_errors(torch.stack([d[0] for d in draws]), by_x)
    assert within_three_errors(torch.stack([d[1] for d in draws]), by_w)


def test_variance_falls_as_more_rows_are_kept():
    n, k, m = 32, 8, 6
    g, x, w = torch.randn(n, m).exp(), integers(n, k), integers(m, k)
    spread = []
    for keep in (0.25, 0.5, 0.75, 1.0):
        draws = [by_sampling(g, x, w, (True, True), keep) for _ in range(500)]
        spread.append([torch.stack([d[i] for d in draws]).var(0).sum().item() for i in (0, 1)])
    for i in (0, 1):
        values = [pair[i] for pair in spread]
        assert values == sorted(values, reverse=True)


def test_sampling_multiplies_fewer_rows(monkeypatch):
    seen = []

    def spy(a, b, most):
        seen.append(len(a))
        return products.product(a, b, most)

    monkeypatch.setattr("veilform.quant.arithmetic.product", spy)
    n = 400
    by_sampling(torch.randn(n, 6), integers(n, 8), integers(6, 8), (True, False), 0.5)
    assert seen
    assert n - 80 < seen[0] < n + 80


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 7, 3), (20, 2000, 9)])
@pytest.mark.parametrize("most", [8, 127])
def test_products_are_exact_by_either_carrier(m, k, n, most):
    a = torch.randint(-most, most, (m, k), dtype=torch.int8)
    b = torch.randint(-most, most, (n, k), dtype=torch.int8)
    exact = a.long() @ b.long().T
    assert torch.equal(products.product(a, b, most * most), exact.float())
    assert torch.equal(products.by_float(a, b, most * most), exact.float())
    assert torch.equal(products.by_int8(a, b).long(), exact)
