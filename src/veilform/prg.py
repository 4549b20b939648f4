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

import numpy as np
import numpy.typing as npt

from veilform.kernels.stream import draw

SEED_BYTES = 16
_PERSON = b"veilform prg"


def fresh_seed() -> bytes:
    """A new 128-bit seed from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


def expand(seed: bytes, label: str, count: int, bits: int = 64) -> npt.NDArray[np.uint64]:
    """The first ``count`` words of the stream, of ``bits`` bits each.

    A word takes ceil(bits/8) bytes, little-endian, and keeps its lowest bits; a word of a single
    bit takes one bit, the highest of a byte first.

    Raises:
        ValueError: the seed has no 16 bytes, count is negative, or bits is not 1 to 64.
    """
    return draw(stream_key(seed, label), count, bits)


def stream_key(seed: bytes, label: str) -> bytes:
    """The AES key of the stream named ``label`` under ``seed``.

    Raises:
        ValueError: the seed has no 16 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    name = label.encode("utf-8")
    return hashlib.blake2b(name, digest_size=16, key=seed, person=_PERSON).digest()
