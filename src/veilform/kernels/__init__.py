"""Integer kernels modulo 2^64: matrix product, opened bilinear forms, point-function lookup.

Each function exists as compiled C++ for several instruction sets and as NumPy (`reference`); all
of them return the same bits. The best path that this CPU offers is chosen at import. The
environment may force another with ``VEILFORM_KERNELS=reference|portable|avx2|avx512``, and bound
the threads with ``VEILFORM_THREADS``.

Arrays are ``numpy.uint64`` unless stated otherwise. A strided view is copied first. A wrong dtype
or shape raises ValueError. The compiled kernels release the interpreter lock.

An *opened* value x of k = bits - t bits is known to both parties as y = y' 2^t, where
y' = x + 2^(k-2) + rho mod 2^k is its opening under a mask rho of k bits. It is lifted to ``bits``
bits: with

    p = y' - 2^(k-2),  g = (1 - msb(y')) 2^k,  q = rho,  h = msb(rho)

x = p - q + g h modulo 2^bits, exactly, if |x| <= 2^(k-2). For t = 0 it was opened in its own ring:
there is no offset, and p = y, g = 0. The parties hold shares of q, h and of their products, and
``lead`` is true on exactly one side.
Words that are multiplied by g matter only modulo 2^t, so they may be uint16, uint32 or uint64;
None stands for a term that is zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from veilform.kernels import _check, reference
from veilform.kernels._check import MOST_TREE_BITS, U8, U64
from veilform.kernels._compare import compare_evaluate, compare_generate, compare_levels
from veilform.kernels._dispatch import available, info, selected, set_threads, threads, use
from veilform.kernels._dpf import (
    Curve,
    Segments,
    dpf_curve,
    dpf_generate,
    dpf_lookup,
    dpf_segments,
)
from veilform.kernels._harmonics import (
    MOST_COEFFICIENT,
    MOST_ORDER,
    MOST_PERIOD_BITS,
    harmonic,
    phasor,
)
from veilform.kernels._matmul import PackedMatrix, PackedStack, matmul, pack, pack_stack
from veilform.kernels._small import SmallMatrix, pack_small, shifts_of
from veilform.kernels._tiles import winograd

__all__ = [
    "MOST_COEFFICIENT",
    "MOST_ORDER",
    "MOST_PERIOD_BITS",
    "MOST_TREE_BITS",
    "U8",
    "Curve",
    "PackedMatrix",
    "PackedStack",
    "Segments",
    "SmallMatrix",
    "available",
    "centre",
    "compare_evaluate",
    "compare_generate",
    "compare_levels",
    "dpf_curve",
    "dpf_generate",
    "dpf_lookup",
    "dpf_segments",
    "harmonic",
    "info",
    "matmul",
    "mix",
    "opened_product",
    "opened_share",
    "opened_square",
    "pack",
    "pack_small",
    "pack_stack",
    "phasor",
    "set_threads",
    "shifts_of",
    "threads",
    "use",
    "winograd",
]


def _narrow_like(name: str, array: Any, expected: tuple[int, ...]) -> Any:
    if array is None:
        return None
    array = _check.narrow(name, array)
    _check.shape(name, array, expected)
    return array


def mix(
    a: U64, b: U64 | None = None, *, negate_a: bool = False, negate_b: bool = False, plus: int = 0,
    bits: int = 64, right: int = 0, then: int = 0, left: int = 0,
) -> U64:  # fmt: skip
    """((((a + b + plus) mod 2^bits) >> right) + then) << left  mod 2^64, in one pass.

    b has a's shape, or is left out; either may be negated.

    Raises:
        ValueError: wrong dtypes or shapes, or a shift outside 0 .. 63.
    """
    a = _check.words("a", a)
    b = None if b is None else _check.like("b", b, a.shape)
    _check.modulus(bits)
    if not (0 <= right < 64 and 0 <= left < 64):
        raise ValueError(f"shifts by {right} and {left}, but a word has 64 bits")
    plus, then = plus % 2**64, then % 2**64
    at = selected()
    if at.native is None:
        return reference.mix(a, b, negate_a, negate_b, plus, bits, right, then, left)
    out = np.empty_like(a)
    at.native.mix(at.code, at.threads, out, a, b, negate_a, negate_b, plus, bits, right, then, left)
    return out


def centre(x: U64) -> U64:
    """d x - sum(x) over the last axis, of length d, mod 2^64.

    Raises:
        ValueError: a wrong dtype, or no axis.
    """
    x = _check.words("x", x)
    if not x.ndim or not x.size:
        raise ValueError(f"rows are centred, not an array of shape {x.shape}")
    at = selected()
    if at.native is None:
        return reference.centre(x)
    out = np.empty_like(x)
    d = x.shape[-1]
    at.native.centre(at.code, at.threads, out.reshape(-1, d), x.reshape(-1, d))
    return out


def opened_share(y: U64, t: int, bits: int, lead: bool, q: U64, h: Any) -> U64:
    """A share of x, of y's shape:  lead p - q + g h  mod 2^bits.

    Args are as in the module's text: y public, q and h this party's shares (h may be narrow, or
    None if t = 0). All shapes are equal.

    Raises:
        ValueError: wrong dtypes, shapes, t or bits.
    """
    y = _check.words("y", y)
    _check.ring(t, bits)
    q, h = _check.like("q", q, y.shape), _narrow_like("h", h, y.shape)
    at = selected()
    if at.native is None:
        return reference.opened_share(y, t, bits, lead, q, h)
    out = np.empty_like(y)
    at.native.opened_share(at.code, at.threads, out, y, t, bits, lead, q, h)
    return out


def opened_square(y: U64, t: int, bits: int, lead: bool, q: U64, h: Any, q2: U64, qh: Any) -> U64:
    """A share of x^2:  lead p^2 - 2 p (q - g h) + q2 - 2 g qh + g 2^(bits-t) h  mod 2^bits.

    q2 and qh are this party's shares of q^2 and q h. h and qh may be narrow or None.

    Raises:
        ValueError: wrong dtypes, shapes, t or bits.
    """
    y = _check.words("y", y)
    _check.ring(t, bits)
    q, q2 = _check.like("q", q, y.shape), _check.like("q2", q2, y.shape)
    h, qh = _narrow_like("h", h, y.shape), _narrow_like("qh", qh, y.shape)
    at = selected()
    if at.native is None:
        return reference.opened_square(y, t, bits, lead, q, h, q2, qh)
    out = np.empty_like(y)
    at.native.opened_square(at.code, at.threads, out, y, t, bits, lead, q, h, q2, qh)
    return out


def opened_product(
    ya: U64, ta: int, yb: U64, tb: int, bits: int, lead: bool,
    qa: U64, ha: Any, qb: U64, hb: Any, qaqb: U64, qahb: Any, haqb: Any, hahb: Any,
) -> U64:  # fmt: skip
    """A share of a b, elementwise, for two opened values, of a's shape, mod 2^bits.

        lead pa pb - pa (qb - gb hb) - pb (qa - ga ha) + qaqb - gb qahb - ga haqb + ga gb hahb

    The arrays of b alone (yb, qb, hb) have a's shape, or a last axis of 1, which is repeated. The
    four products have a's shape. ha, hb, qahb, haqb and hahb may be narrow or None.

    Raises:
        ValueError: wrong dtypes, shapes, t or bits.
    """
    ya, yb = _check.words("ya", ya), _check.words("yb", yb)
    _check.ring(ta, bits)
    _check.ring(tb, bits)
    _check.product_shapes(ya.shape, yb.shape)
    qa, ha = _check.like("qa", qa, ya.shape), _narrow_like("ha", ha, ya.shape)
    qb, hb = _check.like("qb", qb, yb.shape), _narrow_like("hb", hb, yb.shape)
    qaqb = _check.like("qaqb", qaqb, ya.shape)
    qahb, haqb = _narrow_like("qahb", qahb, ya.shape), _narrow_like("haqb", haqb, ya.shape)
    hahb = _narrow_like("hahb", hahb, ya.shape)
    at = selected()
    if at.native is None:
        return reference.opened_product(
            ya, ta, yb, tb, bits, lead, qa, ha, qb, hb, qaqb, qahb, haqb, hahb
        )
    out = np.empty_like(ya)
    repeat = ya.shape[-1] if yb.shape != ya.shape else 1
    at.native.opened_product(
        at.code, at.threads, out, repeat, ya, ta, yb, tb, bits, lead,
        qa, ha, qb, hb, qaqb, qahb, haqb, hahb,
    )  # fmt: skip
    return out
