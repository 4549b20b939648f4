"""Exact products of small integers, by whatever the device multiplies fastest.

INT8 units carry 4-bit integers (Hopper has no INT4 ones); where there are none, float32 does, whose
sums are exact below 2^24. The result is the same in either case.
"""

from __future__ import annotations

import functools

import torch

_EXACT = 1 << 24
# torch._int_mm on CUDA asks for more than 16 rows and multiples of 8.
_LEAST_ROWS, _MULTIPLE = 17, 8


def product(a: torch.Tensor, b: torch.Tensor, most: int) -> torch.Tensor:
    """The product a b^T, float32 (m, n), of int8 (m, k) and (n, k).

    Args:
        most: a bound on the absolute value of a product of two elements. Sums must stay below
            2^31; beyond 2^24 the result is the exact sum rounded to float32.
    """
    if has_int8(a.device):
        return by_int8(a, b).float()
    return by_float(a, b, most)


@functools.cache
def has_int8(device: torch.device) -> bool:
    """Whether the device has an exact INT8 product: a CPU with VNNI, CUDA from capability 7.5.

    Without VNNI a CPU's product adds pairs in 16 bits, which may saturate.
    """
    if device.type == "cpu":
        return torch.cpu._is_vnni_supported()
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 5)


def by_int8(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """int32 (m, n) by the device's INT8 product, exact where ``has_int8`` says so."""
    m, n = len(a), len(b)
    if a.device.type == "cuda":
        rows = max(_up(m), _up(_LEAST_ROWS))
        a = _padded(a, rows, _up(a.shape[1]))
        b = _padded(b, _up(n), a.shape[1])
    return torch._int_mm(a.contiguous(), b.t())[:m, :n]


def by_float(a: torch.Tensor, b: torch.Tensor, most: int) -> torch.Tensor:
    """The same by float32, in pieces of the inner axis whose sums are exact."""
    inner = a.shape[1]
    piece = max(1, _EXACT // most)
    if inner <= piece:
        return a.float() @ b.float().t()
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for start in range(0, inner, piece):
        part = slice(start, start + piece)
        total += a[:, part].float() @ b[:, part].float().t()
    return total.float()


def _up(size: int) -> int:
    return -(-size // _MULTIPLE) * _MULTIPLE


def _padded(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    if x.shape == (rows, columns):
        return x.contiguous()
    out = x.new_zeros(rows, columns)
    out[: x.shape[0], : x.shape[1]] = x
    return out
