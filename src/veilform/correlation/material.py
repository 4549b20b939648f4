"""A party's part of one correlation, each field made when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from veilform import prg
from veilform.correlation.specs import Field, Source, Spec
from veilform.errors import StockError
from veilform.ring import Words, reduce
from veilform.roles import Role
from veilform.words import pack, unpack


def expand_field(seed: bytes, spec: Spec, field: Field) -> Words:
    """The field's words from a party's seed, under the label ``<spec>/<field>``."""
    count = math.prod(field.shape)
    return prg.expand(seed, f"{spec.name}/{field.name}", count, field.bits).reshape(field.shape)


def pack_field(value: Words, field: Field) -> memoryview:
    """A dealt field as bytes: always whole bytes a word, a single bit too."""
    # Packing drops what is above the bits of a word, of which there are 8 at least.
    return pack(value if field.bits >= 8 else reduce(value, field.bits), max(field.bits, 8))


class Material(Mapping[str, Words]):
    """Field names to arrays, for one spec and one role. Its text form shows no content."""

    def __init__(
        self,
        spec: Spec,
        role: Role,
        seed: bytes,
        received: Mapping[str, memoryview],
    ) -> None:
        self._spec = spec
        self._seed = seed
        self._received = received
        self._fields = {field.name: field for field in spec.fields(role)}
        self._made: dict[str, Words] = {}

    def made(self) -> Material:
        """Itself, with all its fields made now."""
        self._made = {name: self[name] for name in self._fields}
        self._received = {}
        return self

    def size(self) -> int:
        """Bytes of the fields that are made."""
        return sum(words.nbytes for words in self._made.values())

    def __getitem__(self, name: str) -> Words:
        if name in self._made:
            return self._made[name]
        field = self._fields[name]
        if field.source is Source.SEED:
            return expand_field(self._seed, self._spec, field)
        if name not in self._received:
            raise StockError(
                f"the {field.source.value} part {name!r} of {self._spec.name} is missing"
            )
        return unpack(self._received[name], field.shape, max(field.bits, 8))

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Material({self._spec.name}, fields={list(self._fields)})"
