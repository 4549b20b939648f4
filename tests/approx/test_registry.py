from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from veilform.approx import registry
from veilform.approx.arrays import erf
from veilform.approx.gelu import gelu
from veilform.approx.quad import quad
from veilform.approx.softmax import softmax
from veilform.approx.twoquad import numerator, twoquad
from veilform.errors import ModelError

finite = st.floats(-100, 100, allow_subnormal=False)
rows = hnp.arrays(np.float64, (3, 7), elements=finite)
masks = hnp.arrays(np.int64, (3, 6), elements=st.integers(0, 1)).map(
    lambda mask: np.insert(mask, 0, 1, axis=1)  # each row has a key that counts
)


def test_every_function_has_a_protocol() -> None:
    assert set(registry.ENTRIES) == {
        "quad", "relu", "gelu", "curve-gelu", "fourier-gelu", "poly-gelu", "tanh",
        "2quad", "2relu", "softmax", "softmax-ode",
    }  # fmt: skip
    assert all(entry.secure is not None for entry in registry.ENTRIES.values())


def test_entries_have_a_one_line_source_and_their_name() -> None:
    for name, entry in registry.ENTRIES.items():
        assert entry.name == name
        assert entry.source
        assert "\n" not in entry.source


def test_get() -> None:
    assert registry.get("quad").plain is quad
    assert registry.attention("2quad").plain is twoquad
    assert registry.activation("gelu").plain is gelu
    with pytest.raises(ModelError, match="no function is called 'silu'; known: 2quad, 2relu, "):
        registry.get("silu")
    with pytest.raises(ModelError, match=r"no activation is called '2quad'; known: .*gelu, quad, "):
        registry.activation("2quad")
    with pytest.raises(ModelError, match="no attention is called 'quad'; known: 2quad, 2relu, "):
        registry.attention("quad")


@given(rows)
def test_quad(x: np.ndarray) -> None:
    np.testing.assert_allclose(quad(x), x**2 / 8 + x / 4 + 0.5, rtol=1e-12, atol=1e-12)


@given(rows)
def test_gelu_is_exact(x: np.ndarray) -> None:
    expected = np.vectorize(lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2)(x)
    np.testing.assert_allclose(gelu(x), expected, atol=1e-9)


def test_erf_on_a_fine_grid_and_at_the_ends() -> None:
    x = np.linspace(-7, 7, 20_001)
    assert np.abs(erf(x) - np.array([math.erf(v) for v in x])).max() < 1e-10
    assert erf(np.array([np.inf, -np.inf])).tolist() == [1, -1]
    assert np.isnan(gelu(np.array([np.nan], np.float32)))[0]


@pytest.mark.parametrize("function", [quad, gelu])
def test_activations_keep_the_dtype(function: object) -> None:
    for dtype in (np.float32, np.float64):
        assert callable(function)
        assert function(np.ones(3, dtype)).dtype == dtype


@pytest.mark.parametrize("attend", [softmax, twoquad])
@given(scores=rows, mask=masks)
def test_attention_weights(attend: object, scores: np.ndarray, mask: np.ndarray) -> None:
    assert callable(attend)
    # A row whose only score is -5 has no 2Quad weights; keep away from it.
    scores = np.where(np.abs(scores + 5) < 1e-3, 0, scores)
    weights = attend(scores, mask)
    assert weights.shape == scores.shape
    assert (weights >= 0).all()
    assert (weights[mask == 0] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-12)
    # What masked keys hold does not matter.
    changed = np.where(mask == 0, 50.0, scores)
    np.testing.assert_allclose(attend(changed, mask), weights, rtol=1e-12)
    assert attend(scores.astype(np.float32), mask).dtype == np.float32


def test_twoquad_known_answer() -> None:
    scores = np.array([[0.0, 1.0, -5.0, 3.0]])
    assert numerator(scores).tolist() == [[25, 36, 0, 64]]
    weights = twoquad(scores, np.array([[1, 1, 1, 0]]))
    np.testing.assert_allclose(weights, [[25 / 61, 36 / 61, 0, 0]])


def test_softmax_known_answer_and_no_overflow() -> None:
    weights = softmax(np.array([[1000.0, 1000.0, 5000.0]]), np.array([[1, 1, 0]]))
    assert weights.tolist() == [[0.5, 0.5, 0]]
