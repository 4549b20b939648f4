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

from veilform.masks import MaskRef
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

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        """What ``role`` has of this correlation."""
        raise TypeError(f"{type(self).__name__} is not a correlation")


def _shared(role: Role, fields: list[tuple[str, Shape, int]]) -> tuple[Field, ...]:
    source = Source.SEED if role is CLIENT else Source.DEALT
    return tuple(Field(name, shape, bits, source) for name, shape, bits in fields)


class Preshare(Spec, frozen=True, tag="preshare"):
    """A fresh mask r, the client's. Its name is the spec's."""

    shape: Shape

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        if role is not CLIENT:
            return ()
        return (Field("mask", self.shape, ring_bits, Source.SEED),)


class Term(msgspec.Struct, frozen=True):
    """One product r W of a linear layer: the input's mask, and a weight by name and shape."""

    mask: MaskRef
    shape: Shape
    weight: str
    weight_shape: Shape


class Linear(Spec, frozen=True, tag="linear"):
    """For Z = sum_i X_i W_i, W_i = P_i - s_i: sum_i r_i s_i shared, and a fresh mask r_Z."""

    shape: Shape
    terms: tuple[Term, ...]

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        share = ("share", self.shape, ring_bits)
        if role is CLIENT:
            return (Field("mask", self.shape, ring_bits, Source.SEED), Field(*share, Source.SEED))
        return (
            Field(*share, Source.DEALT),
            Field("correction", self.shape, ring_bits, Source.CORRECTION),
        )


class Truncate(Spec, frozen=True, tag="truncate"):
    """For a truncation of x = u + r by t bits: the server's bit m; m msb(r) shared; kappa.

    The last two are modulo 2^t. It makes the truncated value's mask,
    r' = (r >> t) + 2^(k-t) kappa.
    """

    shape: Shape
    source: MaskRef
    shift: int

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        share = ("share", self.shape, self.shift)
        if role is CLIENT:
            return (Field("kappa", self.shape, self.shift, Source.SEED), Field(*share, Source.SEED))
        return (Field("flip", self.shape, 1, Source.SEED), Field(*share, Source.DEALT))


class Open(Spec, frozen=True, tag="open"):
    """The mask rho of an opening modulo 2^width.

    For shift > 0 its q = rho >> shift and h = msb(rho) too, shared.

    ``senders`` are those who hold a part of the value that is not fixed beforehand, and so a part
    of rho: both for an additive value; the server for a preshared one, where rho = rho_S - r and
    ``source`` names r; the client for a value of its own.
    """

    shape: Shape
    width: int
    shift: int
    senders: tuple[Role, ...]
    source: MaskRef | None = None

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        fields: tuple[Field, ...] = ()
        if role in self.senders:
            fields = (Field("rho", self.shape, self.width, Source.SEED),)
        if self.shift:
            shared: list[tuple[str, Shape, int]] = [
                ("q", self.shape, ring_bits),
                ("h", self.shape, self.shift),
            ]
            fields += _shared(role, shared)
        return fields


class Square(Spec, frozen=True, tag="square"):
    """q^2 and q h of an opened value, shared."""

    shape: Shape
    opened: MaskRef
    shift: int

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        shared: list[tuple[str, Shape, int]] = [("qq", self.shape, ring_bits)]
        if self.shift:
            shared.append(("qh", self.shape, self.shift))
        return _shared(role, shared)


class Product(Spec, frozen=True, tag="product"):
    """The products of two opened values' q and h, shared. An axis of b may be 1; it is repeated."""

    shape: Shape
    a: MaskRef
    b: MaskRef
    a_shift: int
    b_shift: int

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        shared: list[tuple[str, Shape, int]] = [("qq", self.shape, ring_bits)]
        if self.b_shift:
            shared.append(("qh", self.shape, self.b_shift))
        if self.a_shift:
            shared.append(("hq", self.shape, self.a_shift))
        # h_a h_b comes with 2^(2k - shifts), which is 0 in the ring until the shifts exceed k.
        if self.a_shift and self.b_shift and self.a_shift + self.b_shift > ring_bits:
            shared.append(("hh", self.shape, self.a_shift + self.b_shift - ring_bits))
        return _shared(role, shared)


class MatMul(Spec, frozen=True, tag="matmul"):
    """rho_a rho_b of two opened matrices (shift 0), shared; ``inner`` is the length summed over."""

    shape: Shape
    inner: int
    a: MaskRef
    b: MaskRef

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        return _shared(role, [("product", self.shape, ring_bits)])


class Lookup(Spec, frozen=True, tag="lookup"):
    """Distributed point functions at an index's mask, with values (1, mask of ``payload``).

    ``count`` keys for indices of ``bits`` bits; the two root seeds are free, the correction words
    go to both parties.
    """

    count: int
    bits: int
    index: MaskRef
    payload: MaskRef | None = None

    def fields(self, role: Role, ring_bits: int) -> tuple[Field, ...]:
        return (
            Field("key", (self.count, 2), 64, Source.SEED),
            Field("seed_words", (self.count, self.bits, 2), 64, Source.DEALT),
            Field("bit_words", (self.count, self.bits), 8, Source.DEALT),
            Field("final_words", (self.count, 2), 64, Source.DEALT),
        )


AnySpec = Preshare | Linear | Truncate | Open | Square | Product | MatMul | Lookup


def dealt_bytes(spec: Spec, role: Role, ring_bits: int) -> int:
    """Bytes that the dealer sends to ``role`` for this correlation."""
    return sum(f.nbytes for f in spec.fields(role, ring_bits) if f.source is Source.DEALT)


def correction_bytes(spec: Spec, ring_bits: int) -> int:
    """Bytes that the client sends to the server, offline, for this correlation."""
    return sum(f.nbytes for f in spec.fields(SERVER, ring_bits) if f.source is Source.CORRECTION)
