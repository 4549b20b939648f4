"""What a party holds of a secret value.

Each class is one party's own part. None prints its content: a share in a log is a share lost.
``Array`` is a ``uint64`` NumPy array, or an abstract one while a protocol is traced.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from veilform.masks import AnyView, Centre, Drop, MaskRef
from veilform.ring import WORD

Array = Any


class _Held:
    """No content in any text form, and no truth value: a branch on a share is a bug."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"

    def __bool__(self) -> bool:
        raise TypeError(
            "a secret has no truth value; open it by a protocol or restructure the code"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        raise TypeError("a held value has a shape")


@dataclass(frozen=True, repr=False)
class Additive(_Held):
    """x = share at the client + share at the server mod 2^bits, both uniform on their own."""

    share: Array
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(self.share.shape)

    def narrowed(self, bits: int) -> Additive:
        """x in a smaller ring, which must hold it."""
        return Additive(self.share, _smaller(self.bits, bits))


@dataclass(frozen=True, repr=False)
class Preshared(_Held):
    """x mod 2^bits with the client's share fixed before the input exists: the mask of ``mask``.

    The client holds r, the server x - r, and the dealer knows r too.
    """

    share: Array
    mask: MaskRef
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(self.share.shape)

    def view(self, view: AnyView) -> Preshared:
        """x seen through a linear view: the mask follows.

        Raises:
            ValueError: for a view that drops bits; that is what ``truncate.drop`` is for.
        """
        if isinstance(view, Drop):
            raise ValueError("dropping bits changes the ring; use protocol.truncate.drop")
        return Preshared(view.apply(self.share), self.mask.through(view), self.bits)

    def narrowed(self, bits: int) -> Preshared:
        """x in a smaller ring, which must hold it."""
        return Preshared(self.share, self.mask, _smaller(self.bits, bits))


@dataclass(frozen=True, repr=False)
class Opened(_Held):
    """x mod 2^bits = p - q + g h with p and g public, q and h shared masks that the dealer made.

    Opened in its own ring: y = x + rho mod 2^bits; p = y, q = rho, g = 0, and ``h`` is None.

    Lifted from a smaller ring of ``width`` bits: there y' = x + 2^(width-2) + rho was opened, and
    y = y' 2^shift is kept, with shift = 64 - width. Then p = y' - 2^(width-2), q = rho as an
    integer, h its highest bit, and g = (1 - msb(y')) 2^width.
    """

    name: str
    y: Array
    shift: int
    q: Array
    h: Array | None
    bits: int
    views: tuple[AnyView, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(self.y.shape)

    @property
    def width(self) -> int:
        """Bits of the ring that it was opened in."""
        return self.lifted_from or self.bits

    @property
    def lifted_from(self) -> int | None:
        """Bits of the ring that it was lifted from; None if it was not."""
        return WORD - self.shift if self.shift else None

    @property
    def ref(self) -> MaskRef:
        """The name of rho, and the views it is seen through."""
        return MaskRef(self.name, self.views)

    def view(self, view: AnyView) -> Opened:
        """x seen through a view; through one that sums only if nothing was lifted.

        Raises:
            ValueError: p is not linear in y.
        """
        if isinstance(view, Drop) or (self.shift and isinstance(view, Centre)):
            raise ValueError("a lifted value cannot be summed, nor can bits of an opened one go")
        return replace(
            self,
            y=view.apply(self.y),
            q=view.apply(self.q),
            h=None if self.h is None else view.apply(self.h),
            views=(*self.views, view),
        )


@dataclass(frozen=True, repr=False)
class Bits(_Held):
    """Single bits c = e xor m with e public; the dealer knows the mask m, which is named."""

    name: str
    e: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of c."""
        return tuple(self.e.shape)

    @property
    def ref(self) -> MaskRef:
        """The name of m."""
        return MaskRef(self.name)


def _smaller(bits: int, wanted: int) -> int:
    if wanted > bits:
        raise ValueError(f"a value of {bits} bits cannot be read in a ring of {wanted}")
    return wanted


@dataclass(frozen=True, repr=False)
class Weight:
    """A matrix (in, out), or a vector (out,) that multiplies elementwise. The server's alone.

    ``value`` is what the server's kernels take; None at the other parties. ``small`` says that it
    holds small integers, for which there are other kernels (`kernels.pack_small`).
    """

    name: str
    shape: tuple[int, ...]
    value: Any = None
    small: bool = False

    def __repr__(self) -> str:
        return f"Weight({self.name}, shape={self.shape})"
