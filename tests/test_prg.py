"""The stream: known answers, independence of sizes and threads, and distinct labels."""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from veilform import kernels, prg

SEED = bytes(range(16))


def test_aes_ctr_is_that_of_nist() -> None:
    """NIST SP 800-38A, F.5.1 (CTR-AES128.Encrypt), first block: checks the library's mode."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    out = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(plain)
    assert out.hex() == "874d6191b620e3261bef6864990db6ce"


def test_the_stream_by_its_definition() -> None:
    key = hashlib.blake2b(b"a label", digest_size=16, key=SEED, person=b"veilform prg").digest()
    whole = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(400_000))
    assert prg.expand_bytes(SEED, "a label", 400_000) == whole
    words = prg.expand(SEED, "a label", 50_000)
    assert words.dtype == np.uint64
    assert words.astype("<u8").tobytes() == whole


def test_known_answer() -> None:
    """Frozen: computed once from the definition with hashlib and OpenSSL's AES-CTR."""
    assert prg.stream_key(SEED, "veilform/test/0").hex() == "c72cc2ce6d7e691ec7540562e4ddf829"
    assert (
        prg.expand_bytes(SEED, "veilform/test/0", 24).hex()
        == "1e2cc114af63d6e43e913e39fecc7fc95beacc9bfac627c5"
    )


@given(st.integers(0, 70_000), st.text(max_size=20))
def test_a_shorter_stream_is_a_prefix(nbytes: int, label: str) -> None:
    longest = prg.expand_bytes(SEED, label, 70_000)
    assert prg.expand_bytes(SEED, label, nbytes) == longest[:nbytes]


@pytest.mark.parametrize("extra", [0, 1, 8, 65_535, 65_536])
def test_threads_do_not_change_the_stream(extra: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prg, "_PARALLEL", 1 << 17)
    before, nbytes, streams = kernels.threads(), (1 << 18) + extra, set()
    for threads in (1, 2, 3, 7):
        kernels.set_threads(threads)
        streams.add(prg.expand_bytes(SEED, "x", nbytes))
    kernels.set_threads(before)
    assert len(streams) == 1


def test_labels_and_seeds_give_distinct_streams() -> None:
    pairs = [(bytes([i]) * 16, label) for i in range(3) for label in ("", "a", "b", "ab", "a\0")]
    streams = {prg.expand_bytes(seed, label, 32) for seed, label in pairs}
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


def test_negative_sizes() -> None:
    with pytest.raises(ValueError, match="negative size"):
        prg.expand(SEED, "x", -1)


def test_the_result_can_be_written_to() -> None:
    words = prg.expand(SEED, "x", 4)
    words += np.uint64(1)
    assert prg.expand(SEED, "x", 4).tolist() == (words - np.uint64(1)).tolist()
