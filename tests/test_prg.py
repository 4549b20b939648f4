"""The stream: known answers, independence of sizes and threads, and distinct labels."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilform import kernels, prg
from veilform.kernels import stream

SEED = bytes(range(16))


def test_aes_ctr_is_that_of_nist() -> None:
    """NIST SP 800-38A, F.5.1 (CTR-AES128.Encrypt), first block: checks the library's mode."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    out = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(plain)
    assert out.hex() == "874d6191b620e3261bef6864990db6ce"


def stream_by_definition(label: str, nbytes: int) -> bytes:
    key = hashlib.blake2b(label.encode(), digest_size=16, key=SEED, person=b"veilform prg").digest()
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(nbytes))


@pytest.fixture(params=kernels.available(), autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here runs on each kernel path."""
    before, threads = str(kernels.info()["path"]), kernels.threads()
    kernels.use(request.param)
    yield
    kernels.use(before)
    kernels.set_threads(threads)


@pytest.mark.parametrize("bits", range(1, 65))
def test_the_stream_by_its_definition(bits: int) -> None:
    whole = stream_by_definition("a label", 400_000)
    for count in (0, 1, 2, 3, 31, 16_383, 16_384, 50_000):
        words = prg.expand(SEED, "a label", count, bits)
        assert words.dtype == np.uint64
        if bits == 1:
            expected = np.unpackbits(np.frombuffer(whole, np.uint8), count=count)
        else:
            width = (bits + 7) // 8
            padded = np.zeros((count, 8), np.uint8)
            padded[:, :width] = np.frombuffer(whole[: width * count], np.uint8).reshape(-1, width)
            expected = padded.reshape(-1).view("<u8") & np.uint64((1 << bits) - 1)
        assert np.array_equal(words, expected)


def test_known_answer() -> None:
    """Frozen: computed once from the definition with hashlib and OpenSSL's AES-CTR."""
    assert prg.stream_key(SEED, "veilform/test/0").hex() == "c72cc2ce6d7e691ec7540562e4ddf829"
    expected = "1e2cc114af63d6e43e913e39fecc7fc95beacc9bfac627c5"
    words = prg.expand(SEED, "veilform/test/0", 3)
    assert words.astype("<u8").tobytes().hex() == expected
    assert prg.expand(SEED, "veilform/test/0", 24, 8).tobytes()[::8].hex() == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 70_000), st.text(max_size=20), st.integers(1, 64))
def test_a_shorter_expansion_is_a_prefix(count: int, label: str, bits: int) -> None:
    longest = prg.expand(SEED, label, 70_000, bits)
    assert np.array_equal(prg.expand(SEED, label, count, bits), longest[:count])
    assert int(longest.max()).bit_length() <= bits


@pytest.mark.parametrize("extra", [0, 1, 8, 65_535, 65_536])
@pytest.mark.parametrize("bits", [1, 13, 37, 64])
def test_threads_do_not_change_the_stream(
    extra: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_PARALLEL", 1 << 15)
    found = set()
    for threads in (1, 2, 3, 7):
        kernels.set_threads(threads)
        found.add(prg.expand(SEED, "x", (1 << 18) + extra, bits).tobytes())
    assert len(found) == 1


def test_labels_and_seeds_give_distinct_streams() -> None:
    pairs = [(bytes([i]) * 16, label) for i in range(3) for label in ("", "a", "b", "ab", "a\0")]
    streams = {prg.expand(seed, label, 4).tobytes() for seed, label in pairs}
    assert len(streams) == len(pairs)


def test_fresh_seeds_come_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(prg.fresh_seed()) == 16
    assert prg.fresh_seed() != prg.fresh_seed()
    monkeypatch.setattr(secrets, "token_bytes", lambda n: b"s" * n)
    assert prg.fresh_seed() == b"s" * 16


@pytest.mark.parametrize("seed", [b"", b"short", bytes(15), bytes(17), bytes(32)])
def test_a_seed_has_sixteen_bytes(seed: bytes) -> None:
    with pytest.raises(ValueError, match="a seed has 16 bytes"):
        prg.expand(seed, "x", 1)


def test_impossible_sizes() -> None:
    with pytest.raises(ValueError, match="-1 words"):
        prg.expand(SEED, "x", -1)
    for bits in (0, 65):
        with pytest.raises(ValueError, match="bits"):
            prg.expand(SEED, "x", 1, bits)


def test_the_result_can_be_written_to() -> None:
    words = prg.expand(SEED, "x", 4)
    words += np.uint64(1)
    assert prg.expand(SEED, "x", 4).tolist() == (words - np.uint64(1)).tolist()
