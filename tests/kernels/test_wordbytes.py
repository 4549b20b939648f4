"""Words as bytes: every path against its definition, for every width."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels
from veilform.kernels import wordbytes

PIECE = 1 << 14
SIZES = (0, 1, 7, 8, 9, 100, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5)


def by_definition(words: np.ndarray, bits: int) -> bytes:
    masked = [int(w) % (1 << bits) for w in words]
    if bits == 1:
        text = "".join(map(str, masked))
        text += "0" * (-len(text) % 8)
        return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    return b"".join(w.to_bytes((bits + 7) // 8, "little") for w in masked)


@pytest.mark.parametrize("bits", range(1, 65))
def test_there_and_back(path: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    for count in SIZES:
        words = rng.integers(0, 1 << 64, count, np.uint64)
        raw = wordbytes.to_bytes(words, bits)
        assert raw.flags.c_contiguous
        assert raw.size == wordbytes.packed_size(count, bits)
        assert np.array_equal(raw, wordbytes.reference_to_bytes(words, bits))
        back, fit = wordbytes.from_bytes(raw, count, bits)
        assert fit
        assert back.tolist() == (words & np.uint64((1 << bits) - 1)).tolist()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 64))
def test_by_definition(path: str, values: list[int], bits: int) -> None:
    words = np.array(values, np.uint64)
    assert wordbytes.to_bytes(words, bits).tobytes() == by_definition(words, bits)


@pytest.mark.parametrize("bits", [2, 7, 9, 20, 31, 33, 41, 63])
@pytest.mark.parametrize("at", [0, PIECE - 1, 2 * PIECE])
def test_a_word_too_large_is_seen(path: str, bits: int, at: int) -> None:
    count = 2 * PIECE + 1
    words = np.full(count, (1 << bits) - 1, np.uint64)
    width = 8 * ((bits + 7) // 8)
    assert wordbytes.from_bytes(wordbytes.to_bytes(words, width), count, bits)[1]
    words[at] += np.uint64(1)
    masked, fit = wordbytes.from_bytes(wordbytes.to_bytes(words, width), count, bits)
    assert not fit
    assert masked[at] == 0


def test_threads_write_only_their_own(path: str) -> None:
    words = np.random.default_rng(0).integers(0, 1 << 64, 20 * PIECE + 3, np.uint64)
    for bits in (1, 20, 33, 52):
        found = set()
        for threads in (1, 2, 5):
            kernels.set_threads(threads)
            found.add(wordbytes.to_bytes(words, bits).tobytes())
        assert len(found) == 1


def test_strided_views_and_read_only_bytes(path: str) -> None:
    words = np.arange(24, dtype=np.uint64).reshape(4, 6)
    raw = wordbytes.to_bytes(words.T, 24)
    still = np.frombuffer(raw.tobytes(), np.uint8)
    assert wordbytes.from_bytes(still, 24, 24)[0].tolist() == words.T.reshape(-1).tolist()


def test_wrong_arguments(path: str) -> None:
    words, raw = np.zeros(4, np.uint64), np.zeros(12, np.uint8)
    for bits in (0, 65):
        with pytest.raises(ValueError, match="1 to 64 bits"):
            wordbytes.to_bytes(words, bits)
        with pytest.raises(ValueError, match="1 to 64 bits"):
            wordbytes.from_bytes(raw, 4, bits)
    with pytest.raises(ValueError, match="uint64"):
        wordbytes.to_bytes(words.astype(np.int64), 8)
    with pytest.raises(ValueError, match="shape"):
        wordbytes.from_bytes(raw, 5, 24)
