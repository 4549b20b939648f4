"""Words of any width drawn from an AES-128 counter-mode stream that starts at counter zero.

A word of ``bits`` bits takes the next ceil(bits/8) bytes, little-endian, and keeps its lowest bits;
single bits take one bit each, the highest of a byte first. Compiled code draws and widens in one
pass where the CPU has AES instructions; elsewhere OpenSSL makes the bytes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from veilform.kernels._check import U8, U64
from veilform.kernels._dispatch import selected
from veilform.kernels.wordbytes import from_bytes, packed_size

_BLOCK = 16
#: Written in pieces of this many bytes: a piece of zeros to encrypt stays in the cache.
_PIECE = 1 << 16
_ZEROS = bytes(_PIECE)
#: From this many bytes on, a request is split over threads.
_PARALLEL = 1 << 22


def draw(key: bytes, count: int, bits: int) -> U64:
    """The first ``count`` words of ``bits`` bits (1 to 64) of the stream of a 16-byte key.

    Raises:
        ValueError: the key has no 16 bytes, count is negative, or bits is out of range.
    """
    if len(key) != _BLOCK or count < 0 or not 1 <= bits <= 64:
        raise ValueError(f"cannot draw {count} words of {bits} bits with {len(key)} bytes of key")
    native = selected().dpf
    if native is None:
        return reference_draw(key, count, bits)
    out = np.empty(count, np.uint64)
    native.draw(selected().code, selected().threads, key, bits, out)
    return out


def reference_draw(key: bytes, count: int, bits: int) -> U64:
    """`draw` by OpenSSL."""
    return from_bytes(_bytes(key, packed_size(count, bits), selected().threads), count, bits)[0]


def _bytes(key: bytes, nbytes: int, workers: int) -> U8:
    # update_into wants room for one block less a byte beyond its input.
    buffer = np.empty(nbytes + _BLOCK, np.uint8)
    if nbytes < _PARALLEL or workers == 1:
        _fill(key, buffer.data, 0, nbytes)
    else:
        _fill_parallel(key, buffer, nbytes, workers)
    return buffer[:nbytes]


def _fill_parallel(key: bytes, buffer: U8, nbytes: int, workers: int) -> None:
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
