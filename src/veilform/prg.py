"""Pseudorandom words from (seed, label): AES-128 in counter mode.

The key of a stream is ``BLAKE2b(label, key=seed, person="veilform prg", 16 bytes)`` and its
counter starts at zero. BLAKE2b keyed with the seed is a pseudorandom function, so different
labels under one seed give streams that are independent to anyone without the seed, and AES-CTR
under a fresh key is a pseudorandom generator up to the usual 2^64 blocks.

Two parties that hold the same seed expand the same words: that is what they agree on, and also
the danger. A stream that masks two different values reveals their difference. **Use each (seed,
label) pair for one meaning only**: the label names the mask, its index and its session, and a
seed is fresh for each deal. Nothing here can see a pair used twice; the stock can, and does.
"""

from __future__ import annotations

import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from veilform import kernels

SEED_BYTES = 16
_PERSON = b"veilform prg"
_BLOCK = 16
#: Written in pieces of this many bytes: a piece of zeros to encrypt stays in the cache.
_PIECE = 1 << 16
_ZEROS = bytes(_PIECE)
#: From this many bytes on, a request is split over threads.
_PARALLEL = 1 << 22


def fresh_seed() -> bytes:
    """A new 128-bit seed from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


def expand(seed: bytes, label: str, count: int) -> npt.NDArray[np.uint64]:
    """The first ``count`` 64-bit words of the stream, read as little-endian.

    Raises:
        ValueError: the seed has no 16 bytes, or count is negative.
    """
    stream = _stream(seed, label, 8 * count)
    return stream.view("<u8").astype(np.uint64, copy=False)


def expand_bytes(seed: bytes, label: str, nbytes: int) -> bytes:
    """The first ``nbytes`` bytes of the stream.

    Raises:
        ValueError: the seed has no 16 bytes, or nbytes is negative.
    """
    return _stream(seed, label, nbytes).tobytes()


def stream_key(seed: bytes, label: str) -> bytes:
    """The AES key of the stream named ``label`` under ``seed``.

    Raises:
        ValueError: the seed has no 16 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    name = label.encode("utf-8")
    return hashlib.blake2b(name, digest_size=16, key=seed, person=_PERSON).digest()


def _stream(seed: bytes, label: str, nbytes: int) -> npt.NDArray[np.uint8]:
    if nbytes < 0:
        raise ValueError(f"cannot expand to a negative size ({nbytes} bytes)")
    key = stream_key(seed, label)
    # update_into wants room for one block less a byte beyond its input.
    buffer = np.empty(nbytes + _BLOCK, np.uint8)
    if nbytes < _PARALLEL or kernels.threads() == 1:
        _fill(key, buffer.data, 0, nbytes)
    else:
        _fill_parallel(key, buffer, nbytes, kernels.threads())
    return buffer[:nbytes]


def _fill_parallel(key: bytes, buffer: npt.NDArray[np.uint8], nbytes: int, workers: int) -> None:
    """Each worker writes its own range from its own counter: the same bytes as in one go."""
    step = -(-nbytes // workers // _PIECE) * _PIECE
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_fill, key, buffer.data, first, min(first + step, nbytes))
            for first in range(0, nbytes, step)
        ]
        for job in jobs:
            job.result()


def _fill(key: bytes, out: memoryview, first: int, end: int) -> None:
    """Write stream bytes first..end to the same places of out; ``first`` is a whole block."""
    counter = (first // _BLOCK).to_bytes(_BLOCK, "big")
    encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    for at in range(first, end, _PIECE):
        size = min(_PIECE, end - at)
        zeros = _ZEROS if size == _PIECE else bytes(size)
        encryptor.update_into(zeros, out[at : at + size + _BLOCK - 1])
