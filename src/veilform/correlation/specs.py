"""The kinds of correlated randomness, as data.

A spec says what a protocol takes from its party's stock, by fields. A field is expanded from the
party's own seed (free), or dealt (bytes from the dealer), or a correction (bytes from the client,
offline). The field's stream label is ``<spec name>/<field name>``, so no two fields ever share a
mask.

Sharings of a value v always go the same way: the client's share is expanded from its seed, the
server's is v minus that, dealt. So the client's part of a stock is small.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

import msgspec

from veilform.kernels import compare_levels
from veilform.masks import AnyView, ArrayT, MaskRef, Tiled
from veilform.roles import CLIENT, SERVER, Role

Shape = tuple[int, ...]


class Source(enum.Enum):
    """Where a party has a field from."""

    SEED = "seed"
    DEALT = "dealt"
    CORRECTION = "correction"


class Field(NamedTuple):
    """An array of unsigned integers of ``bits`` bits each."""

    name: str
    shape: Shape
    bits: int
    source: Source

    @property
    def nbytes(self) -> int:
        """Bytes in a stock or on a channel: whole bytes a word."""
        return math.prod(self.shape) * ((self.bits + 7) // 8)


class Spec(msgspec.Struct, frozen=True, tag_field="kind"):
    """One correlation. ``name`` is unique in a manifest, and names the mask it makes, if any."""

    name: str

    def fields(self, role: Role) -> tuple[Field, ...]:
        """What ``role`` has of this correlation."""
        raise TypeError(f"{type(self).__name__} is not a correlation")

    def field(self, role: Role, name: str) -> Field:
        """The one of that name, which ``role`` must have."""
        return next(field for field in self.fields(role) if field.name == name)


def _shared(role: Role, fields: list[tuple[str, Shape, int]]) -> tuple[Field, ...]:
    """Sharings; one of no bits is left out."""
    source = Source.SEED if role is CLIENT else Source.DEALT
    return tuple(Field(name, shape, bits, source) for name, shape, bits in fields if bits > 0)


class Preshare(Spec, frozen=True, tag="preshare"):
    """A fresh mask r of ``bits`` bits, the client's. Its name is the spec's."""

    shape: Shape
    bits: int

    def fields(self, role: Role) -> tuple[Field, ...]:
        if role is not CLIENT:
            return ()
        return (Field("mask", self.shape, self.bits, Source.SEED),)


class Term(msgspec.Struct, frozen=True, omit_defaults=True):
    """One product r W of a linear layer: the input's mask, and a weight by name and shape.

    A weight of one axis multiplies elementwise, of two as a matrix, of three as a matrix for each
    of the input's first axis, or, ``by`` Winograd's transforms, as an image's kernels. ``then`` are
    views that the product is seen through.
    """

    mask: MaskRef
    shape: Shape
    weight: str
    weight_shape: Shape
    then: tuple[AnyView, ...] = ()
    by: Tiled | None = None

    @property
    def inner(self) -> Shape:
        """The shape of what is multiplied by the weight."""
        return self.by.inner(self.shape) if self.by else self.shape

    @property
    def product(self) -> Shape:
        """The shape of the product."""
        outputs = self.weight_shape[-1]
        return self.by.outer(self.shape, outputs) if self.by else (*self.shape[:-1], outputs)

    @property
    def multiply_adds(self) -> int:
        """Of matrices; a vector's products are not counted."""
        return math.prod(self.inner) * self.weight_shape[-1] if len(self.weight_shape) > 1 else 0

    def seen(self, product: ArrayT) -> ArrayT:
        """The product, as it is added up."""
        for view in self.then:
            product = view.apply(product)
        return product


class Linear(Spec, frozen=True, tag="linear"):
    """For Z = sum_i X_i W_i, W_i = P_i - s_i: sum_i r_i s_i shared, and a fresh mask r_Z.

    Each product is taken through its term's views, which are linear.

    All modulo 2^bits.
    """

    shape: Shape
    bits: int
    terms: tuple[Term, ...]

    def fields(self, role: Role) -> tuple[Field, ...]:
        share = ("share", self.shape, self.bits)
        if role is CLIENT:
            return (Field("mask", self.shape, self.bits, Source.SEED), Field(*share, Source.SEED))
        return (
            Field(*share, Source.DEALT),
            Field("correction", self.shape, self.bits, Source.CORRECTION),
        )


class Open(Spec, frozen=True, tag="open"):
    """The mask rho of an opening modulo 2^width.

    If the value is lifted, bits > width: rho as an integer, q, shared modulo 2^bits, and its
    highest bit h, which only ever comes with 2^width, modulo 2^(bits - width).

    ``senders`` are those who hold a part of the value that is not fixed beforehand, and so a part
    of rho: both for an additive value; the server for a preshared one, where rho = rho_S - r and
    ``source`` names r; the client for a value of its own.
    """

    shape: Shape
    width: int
    bits: int
    senders: tuple[Role, ...]
    source: MaskRef | None = None

    def fields(self, role: Role) -> tuple[Field, ...]:
        fields: tuple[Field, ...] = ()
        if role in self.senders:
            fields = (Field("rho", self.shape, self.width, Source.SEED),)
        if self.bits > self.width:
            q, h = ("q", self.shape, self.bits), ("h", self.shape, self.bits - self.width)
            fields += _shared(role, [q, h])
        return fields


class Square(Spec, frozen=True, tag="square"):
    """q^2 and q h of an opened value, shared; the latter if it was lifted."""

    shape: Shape
    opened: MaskRef
    width: int
    bits: int

    def fields(self, role: Role) -> tuple[Field, ...]:
        qq, qh = ("qq", self.shape, self.bits), ("qh", self.shape, self.bits - self.width)
        return _shared(role, [qq, qh])


class Product(Spec, frozen=True, tag="product"):
    """The products of two opened values' q and h, shared. An axis of b may be 1; it is repeated.

    ``a_width`` and ``b_width`` are the rings they were lifted from; None for one that was not.
    """

    shape: Shape
    bits: int
    a: MaskRef
    b: MaskRef
    a_width: int | None
    b_width: int | None

    def fields(self, role: Role) -> tuple[Field, ...]:
        shared: list[tuple[str, Shape, int]] = [("qq", self.shape, self.bits)]
        # h_a comes with 2^(a_width), which is 0 in a ring of no more bits; h_a h_b alike.
        if self.b_width is not None:
            shared.append(("qh", self.shape, self.bits - self.b_width))
        if self.a_width is not None:
            shared.append(("hq", self.shape, self.bits - self.a_width))
            if self.b_width is not None:
                shared.append(("hh", self.shape, self.bits - self.a_width - self.b_width))
        return _shared(role, shared)


class Difference(Spec, frozen=True, tag="difference"):
    """What (a - b) c of opened values takes: products of q and h, those of q a and q b as one.

    Each width is the ring that the value was lifted from; None for one that was not.
    """

    shape: Shape
    bits: int
    a: MaskRef
    b: MaskRef
    c: MaskRef
    a_width: int | None
    b_width: int | None
    c_width: int | None

    def fields(self, role: Role) -> tuple[Field, ...]:
        shared: list[tuple[str, Shape, int]] = [("qq", self.shape, self.bits)]
        if self.c_width is not None:
            shared.append(("qh", self.shape, self.bits - self.c_width))
        for name, width in (("a", self.a_width), ("b", self.b_width)):
            if width is not None:
                shared.append((f"{name}q", self.shape, self.bits - width))
                if self.c_width is not None:
                    shared.append((f"{name}h", self.shape, self.bits - width - self.c_width))
        return _shared(role, shared)


class Inner(Spec, frozen=True, tag="inner"):
    """As of a product, for its sum over the last axis: q q is summed, what comes with a g is not.

    ``shape`` is the product's.
    """

    shape: Shape
    bits: int
    a: MaskRef
    b: MaskRef
    a_width: int | None
    b_width: int | None

    def fields(self, role: Role) -> tuple[Field, ...]:
        shared: list[tuple[str, Shape, int]] = [("qq", (*self.shape[:-1], 1), self.bits)]
        if self.b_width is not None:
            shared.append(("qh", self.shape, self.bits - self.b_width))
        if self.a_width is not None:
            shared.append(("hq", self.shape, self.bits - self.a_width))
            if self.b_width is not None:
                shared.append(("hh", self.shape, self.bits - self.a_width - self.b_width))
        return _shared(role, shared)


class MatMul(Spec, frozen=True, tag="matmul"):
    """rho_a rho_b of two opened matrices, shared; ``inner`` is the length summed over."""

    shape: Shape
    bits: int
    inner: int
    a: MaskRef
    b: MaskRef

    def fields(self, role: Role) -> tuple[Field, ...]:
        return _shared(role, [("product", self.shape, self.bits)])


def _point_functions(count: int, depth: int, levels: int, bits: int) -> tuple[Field, ...]:
    """Keys for trees of a depth, with values modulo 2^bits at the lowest levels."""
    return (
        Field("key", (count, 2), 64, Source.SEED),
        Field("seed_words", (count, depth, 2), 64, Source.DEALT),
        Field("bit_words", (count, depth), 8, Source.DEALT),
        Field("value_words", (count, levels, 2), bits, Source.DEALT),
    )


class Lookup(Spec, frozen=True, tag="lookup"):
    """Distributed point functions at an index's mask, with values (1, mask of ``payload``).

    ``count`` keys for indices of ``bits`` bits, with values at the lowest ``levels`` levels of
    their trees; the two root seeds are free, the correction words go to both parties.
    """

    count: int
    bits: int
    index: MaskRef
    payload: MaskRef | None = None
    levels: int = 1

    def fields(self, role: Role) -> tuple[Field, ...]:
        return _point_functions(self.count, self.bits, self.levels, 64)


class Curve(Spec, frozen=True, tag="curve"):
    """Distributed point functions for curves in an opened value, with values at every level.

    At floor(rho / 2^low) of rho mod 2^width, with values (1, rho mod 2^width) modulo 2^bits.
    """

    count: int
    width: int
    low: int
    bits: int
    opened: MaskRef

    def fields(self, role: Role) -> tuple[Field, ...]:
        levels = self.width - self.low
        return _point_functions(self.count, levels, levels, self.bits)


class Compare(Spec, frozen=True, tag="compare"):
    """Distributed comparison functions: shares of [t < the low ``bits`` bits of a mask].

    ``count`` keys; the two root seeds are free, the correction words go to both parties.
    """

    count: int
    bits: int
    index: MaskRef

    def fields(self, role: Role) -> tuple[Field, ...]:
        levels = compare_levels(self.bits)
        fields: tuple[Field, ...] = (
            Field("key", (self.count, 2), 64, Source.SEED),
            Field("blocks", (self.count, levels + 1, 2), 64, Source.DEALT),
        )
        if levels:
            fields += (Field("right_bits", (self.count,), levels, Source.DEALT),)
        return fields


class Bit(Spec, frozen=True, tag="bit"):
    """The mask m of single bits: one of each party, and the highest of ``source`` mod 2^width."""

    shape: Shape
    width: int
    source: MaskRef | None = None

    def fields(self, role: Role) -> tuple[Field, ...]:
        return (Field("flip", self.shape, 1, Source.SEED),)


class Convert(Spec, frozen=True, tag="convert"):
    """The mask m of bits, shared modulo 2^bits."""

    shape: Shape
    bits: int
    bit: MaskRef

    def fields(self, role: Role) -> tuple[Field, ...]:
        return _shared(role, [("m", self.shape, self.bits)])


class Choose(Spec, frozen=True, tag="choose"):
    """The mask m of bits, and m q and m h of an opened value, shared; the last if it was lifted.

    ``width`` is the ring it was lifted from; None if it was not.
    """

    shape: Shape
    bits: int
    bit: MaskRef
    opened: MaskRef
    width: int | None

    def fields(self, role: Role) -> tuple[Field, ...]:
        shared = [("m", self.shape, self.bits), ("mq", self.shape, self.bits)]
        if self.width is not None:
            shared.append(("mh", self.shape, self.bits - self.width))
        return _shared(role, shared)


class Harmonics(Spec, frozen=True, tag="harmonics"):
    """cos and sin of k 2 pi rho / 2^period of an opened value, for each k in ``orders``, shared.

    They have ``scale`` fraction bits, in a ring of ``bits``.
    """

    shape: Shape
    opened: MaskRef
    period: int
    orders: tuple[int, ...]
    scale: int
    bits: int

    def fields(self, role: Role) -> tuple[Field, ...]:
        names = [f"{name}{order}" for order in self.orders for name in ("cos", "sin")]
        return _shared(role, [(name, self.shape, self.bits) for name in names])


AnySpec = (
    Preshare
    | Linear
    | Open
    | Square
    | Product
    | Difference
    | Inner
    | MatMul
    | Lookup
    | Curve
    | Compare
    | Bit
    | Convert
    | Choose
    | Harmonics
)


def dealt_bytes(spec: Spec, role: Role) -> int:
    """Bytes that the dealer sends to ``role`` for this correlation."""
    return sum(f.nbytes for f in spec.fields(role) if f.source is Source.DEALT)


def correction_bytes(spec: Spec) -> int:
    """Bytes that the client sends to the server, offline, for this correlation."""
    return sum(f.nbytes for f in spec.fields(SERVER) if f.source is Source.CORRECTION)
