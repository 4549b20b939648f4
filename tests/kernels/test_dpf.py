"""Point functions: exhaustive on small domains, and bit for bit the reference on every path."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import reference

MAX = 2**64 - 1


def inputs(seed: int, count: int, n: int, columns: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "seeds0": rng.integers(0, 256, (count, 16), np.uint8),
        "seeds1": rng.integers(0, 256, (count, 16), np.uint8),
        "alpha": rng.integers(0, 2**n, count, np.uint64),
        "payload": rng.integers(0, MAX, (count, 2), np.uint64, endpoint=True),
        "y": rng.integers(0, 2**n, count, np.uint64),
        "table": rng.integers(0, MAX, (2**n, columns), np.uint64, endpoint=True),
    }


def generate(d: dict[str, np.ndarray], n: int) -> Any:
    return kernels.dpf_generate(d["seeds0"], d["seeds1"], d["alpha"], d["payload"], n)


def expected(d: dict[str, np.ndarray], n: int) -> np.ndarray:
    rows = d["table"][(d["y"] - d["alpha"]) & np.uint64(2**n - 1)]
    return rows[:, :, None] * d["payload"][:, None, :]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_point_and_every_shift(path: str, n: int) -> None:
    size = 2**n
    d = inputs(n, size * size, n, 2)
    d["alpha"], d["y"] = (x.ravel().astype(np.uint64) for x in np.indices((size, size)))
    keys = generate(d, n)
    one = kernels.dpf_lookup(0, d["seeds0"], *keys, n, d["y"], d["table"])
    two = kernels.dpf_lookup(1, d["seeds1"], *keys, n, d["y"], d["table"])
    np.testing.assert_array_equal(one + two, expected(d, n))


@pytest.mark.parametrize("n", [1, 3, 6, 8])
def test_shares_of_the_point_function_itself(n: int) -> None:
    d = inputs(50 + n, 12, n, 1)
    keys = generate(d, n)
    total = reference.dpf_expand(0, d["seeds0"], *keys, n) + reference.dpf_expand(
        1, d["seeds1"], *keys, n
    )
    for k, alpha in enumerate(d["alpha"].tolist()):
        assert total[k, alpha].tolist() == d["payload"][k].tolist()
        assert not np.delete(total[k], alpha, axis=0).any()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
def test_paths_equal_the_reference(path: str, n: int) -> None:
    d = inputs(100 + n, 11 if n < 10 else 3, n, 3)
    keys = generate(d, n)
    args = (d["seeds0"], d["seeds1"], d["alpha"], d["payload"], n)
    for ours, theirs in zip(keys, reference.dpf_generate(*args), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for party, seeds in ((0, d["seeds0"]), (1, d["seeds1"])):
        np.testing.assert_array_equal(
            kernels.dpf_lookup(party, seeds, *keys, n, d["y"], d["table"]),
            reference.dpf_lookup(party, seeds, *keys, n, d["y"], d["table"]),
        )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    n=st.integers(1, 9), count=st.integers(0, 40), columns=st.integers(0, 5),
    threads=st.integers(1, 3), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_lookup(path: str, n: int, count: int, columns: int, threads: int, seed: int) -> None:
    kernels.set_threads(threads)
    d = inputs(seed, count, n, columns)
    keys = generate(d, n)
    one = kernels.dpf_lookup(0, d["seeds0"], *keys, n, d["y"], d["table"])
    two = kernels.dpf_lookup(1, d["seeds1"], *keys, n, d["y"], d["table"])
    assert one.shape == (count, columns, 2)
    np.testing.assert_array_equal(one + two, expected(d, n))


def test_the_largest_domain() -> None:
    d = inputs(7, 2, 20, 1)
    keys = generate(d, 20)
    one = kernels.dpf_lookup(0, d["seeds0"], *keys, 20, d["y"], d["table"])
    two = kernels.dpf_lookup(1, d["seeds1"], *keys, 20, d["y"], d["table"])
    np.testing.assert_array_equal(one + two, expected(d, 20))


def test_arbitrary_keys_are_read_alike(path: str) -> None:
    """A key that nobody generated (spare bits set) gives the same words on every path."""
    n, count, rng = 7, 5, np.random.default_rng(3)
    d = inputs(8, count, n, 2)
    keys = (
        rng.integers(0, 256, (count, n, 16), np.uint8),
        rng.integers(0, 256, (count, n), np.uint8),
        rng.integers(0, MAX, (count, 1, 2), np.uint64),
    )
    for party in (0, 1):
        args = (party, d["seeds0"], *keys, n, d["y"], d["table"])
        np.testing.assert_array_equal(kernels.dpf_lookup(*args), reference.dpf_lookup(*args))


def test_correction_words_have_their_form(path: str) -> None:
    cw_seeds, cw_bits, _ = generate(inputs(9, 50, 6, 1), 6)
    assert not (cw_seeds[..., 0] & 1).any()
    assert (cw_bits <= 3).all()


def test_known_keys(path: str) -> None:
    """Frozen: a change of generator, bit order or word order breaks every stored key.

    Computed once with the reference, whose AES is OpenSSL's.
    """
    d = inputs(0, 4, 5, 2)
    counter = np.arange(64, dtype=np.uint8).reshape(4, 16)
    d["seeds0"], d["seeds1"] = counter, counter + np.uint8(64)
    d["alpha"] = np.array([0, 31, 16, 7], np.uint64)
    d["payload"] = np.array([[1, 5], [MAX, 2**63], [3, 0], [0, 0]], np.uint64)
    digest = hashlib.sha256(b"".join(x.tobytes() for x in generate(d, 5))).hexdigest()
    assert digest == "bccd4571608a3ec99b68e35fa11b28615d54e909560972e91b045d123d811bf3"


GOOD = inputs(1, 3, 4, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "1 to 40 bits"),
        ({"n": 41}, "1 to 40 bits"),
        ({"n": 1}, "alpha must lie below 2\\^1"),
        ({"seeds0": GOOD["seeds0"][:, :8]}, "seeds0 has shape"),
        ({"seeds1": GOOD["seeds1"].astype(np.uint64)}, "seeds1 must be uint8"),
        ({"payload": GOOD["payload"][:, 0]}, "payload has shape"),
        ({"alpha": GOOD["alpha"][None]}, "alpha has shape"),
    ],
)
def test_wrong_generation(path: str, change: dict[str, Any], message: str) -> None:
    args = {name: GOOD[name] for name in ("seeds0", "seeds1", "alpha", "payload")}
    args["alpha"] = np.array([3, 2, 1], np.uint64)
    with pytest.raises(ValueError, match=message):
        kernels.dpf_generate(**(args | {"n": 4} | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"party": 2}, "party must be 0 or 1"),
        ({"n": 5}, "cw_seeds has shape"),
        ({"y": np.full(3, 16, np.uint64)}, "y must lie below 2\\^4"),
        ({"table": GOOD["table"][:8]}, "table has shape"),
        ({"table": GOOD["table"].astype(np.int64)}, "table must be uint64"),
        ({"seeds": GOOD["seeds0"][:2]}, "seeds has shape"),
    ],
)
def test_wrong_lookup(path: str, change: dict[str, Any], message: str) -> None:
    cw_seeds, cw_bits, words = generate(GOOD, 4)
    args = {
        "party": 0, "seeds": GOOD["seeds0"], "cw_seeds": cw_seeds, "cw_bits": cw_bits,
        "words": words, "n": 4, "y": GOOD["y"], "table": GOOD["table"],
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        kernels.dpf_lookup(**(args | change))
