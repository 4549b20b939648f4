"""CRC-32C: every path against known values and against its definition, bit by bit."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
import pytest

from veilform import kernels
from veilform.kernels.checksum import bring_in, crc32c

LANES = (3 * 256, 3 * 4096)
SIZES = (0, 1, 7, 8, 9, 255, *(n + d for n in LANES for d in (-1, 0, 1, 9)), 50_001)


def by_definition(data: bytes, before: int = 0) -> int:
    state = before ^ 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720, B.4, and the usual check value
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_values(path: str, data: bytes, expected: int) -> None:
    assert crc32c(data) == expected == by_definition(data)


@pytest.mark.parametrize("size", SIZES)
def test_by_definition_in_one_go_and_in_two(path: str, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    expected = by_definition(data)
    assert crc32c(data) == expected
    for cut in {0, 1 % (size + 1), size // 3, size}:
        assert crc32c(memoryview(data)[cut:], crc32c(data[:cut])) == expected


def test_any_place_in_memory(path: str) -> None:
    data = np.random.default_rng(1).bytes(20_000)
    for at in range(16):
        assert crc32c(memoryview(bytes(at) + data)[at:]) == crc32c(data)


def test_what_it_must_tell(path: str) -> None:
    """A bit, blocks of zeros, halves swapped, a byte lost."""
    data = np.random.default_rng(2).bytes(1 << 14)
    half = len(data) // 2
    others = [bytes(len(data)), data[half:] + data[:half], data[:-1], data[:half] + bytes(half)]
    for at in (0, 4095, 4096, 12288, len(data) - 1):
        others.append(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert crc32c(data) not in {crc32c(other) for other in others}
    assert len({crc32c(bytes(n)) for n in range(100)}) == 100


def test_pages_that_cannot_be_read_are_no_crash(path: str) -> None:
    """Beyond its file's end a mapped page cannot be touched."""
    page = mmap.PAGESIZE
    with tempfile.TemporaryFile() as file:
        file.write(bytes(3 * page))
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        view = memoryview(mapped)
        assert bring_in(view[100 : 3 * page - 1]) == 0
        os.ftruncate(file.fileno(), page)
        assert bring_in(view[:page]) == 0
        if kernels.info()["path"] != "reference" and tuple(
            map(int, os.uname().release.split("-")[0].split(".")[:2])
        ) >= (5, 14):
            assert bring_in(view[page - 1 :]) != 0
