"""What a party holds of a secret value.

Each class is one party's own part. None prints its content: a share in a log is a share lost.
``Array`` is a ``uint64`` NumPy array, or an abstract one while a protocol is traced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veilform.masks import AnyView, Centre, MaskRef

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
    """x = share at the client + share at the server, both uniform on their own."""

    share: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(self.share.shape)

    def view(self, view: AnyView) -> Additive:
        """x seen through a linear view."""
        return Additive(view.apply(self.share))


@dataclass(frozen=True, repr=False)
class Preshared(_Held):
    """x with the client's share fixed before the input exists: the mask r that ``mask`` names.

    The client holds r, the server x - r, and the dealer knows r too.
    """

    share: Array
    mask: MaskRef

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(self.share.shape)

    def view(self, view: AnyView) -> Preshared:
        """x seen through a linear view: the mask follows."""
        return Preshared(view.apply(self.share), self.mask.through(view))


@dataclass(frozen=True, repr=False)
class Opened(_Held):
    """x = p - q + g h with p and g public, q and h shared masks that the dealer made.

    It comes from opening y = x 2^shift + 2^(k-2) + rho (without the offset when shift is 0), with
    p = (y >> shift) - 2^(k-2-shift), q = rho >> shift, h = msb(rho), g = (1 - msb(y)) 2^(k-shift).
    The truncation by ``shift`` bits is thereby done, to within one unit. For shift 0: p = y, q =
    rho, g = 0, and ``h`` is None.
    """

    name: str
    y: Array
    shift: int
    q: Array
    h: Array | None
    views: tuple[AnyView, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(self.y.shape)

    @property
    def ref(self) -> MaskRef:
        """The name of rho, and the views it is seen through."""
        return MaskRef(self.name, self.views)

    def view(self, view: AnyView) -> Opened:
        """x seen through a view; through one that sums only if nothing was truncated.

        Raises:
            ValueError: p is not linear in y.
        """
        if self.shift and isinstance(view, Centre):
            raise ValueError("a truncated opening cannot be summed; centre the value before")
        h = None if self.h is None else view.apply(self.h)
        views = (*self.views, view)
        return Opened(self.name, view.apply(self.y), self.shift, view.apply(self.q), h, views)


@dataclass(frozen=True, repr=False)
class Weight:
    """A matrix (in, out), or a vector (out,) that multiplies elementwise. The server's alone.

    ``value`` is what the server's kernels take; None at the other parties.
    """

    name: str
    shape: tuple[int, ...]
    value: Any = None

    def __repr__(self) -> str:
        return f"Weight({self.name}, shape={self.shape})"
