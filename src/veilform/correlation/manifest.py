"""What one run needs and will send, as data: made by a trace, bound into every stock."""

from __future__ import annotations

import functools
import hashlib
import math

import msgspec

from veilform.correlation.specs import (
    AnySpec,
    Linear,
    Source,
    correction_bytes,
    dealt_bytes,
)
from veilform.errors import ProtocolError
from veilform.ring import WORD
from veilform.roles import CLIENT, SERVER, Role

VERSION = 2
MOST_MANIFEST_BYTES = 16 << 20
MOST_AXES = 8

Layout = tuple[tuple[str, int], ...]


class Manifest(msgspec.Struct, frozen=True, dict=True):
    """The correlations of a run in order, and the size of every message each way.

    Attributes:
        model: digest of the model and scales the run is for.
        weights: the server's weights as the dealer holds them masked; "" if the run has none.
        batch, length: texts in a run, and their padded length.
        specs: in the order in which the program takes them.
        up, down: payload bytes of each message from client to server, and back.
    """

    model: str
    weights: str
    batch: int
    length: int
    specs: tuple[AnySpec, ...]
    up: tuple[int, ...]
    down: tuple[int, ...]
    version: int = VERSION

    def encode(self) -> bytes:
        """Its bytes, the same for equal manifests."""
        return self._encoded

    @functools.cached_property
    def _encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes | bytearray) -> Manifest:
        """Reads what :meth:`encode` wrote.

        Raises:
            ProtocolError: for bytes that are no manifest of this version, or too many.
        """
        if len(data) > MOST_MANIFEST_BYTES:
            raise ProtocolError(
                f"a manifest of {len(data)} bytes is over the limit of {MOST_MANIFEST_BYTES}"
            )
        try:
            manifest = msgspec.msgpack.decode(data, type=cls, strict=True)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolError(f"not a manifest: {error}") from None
        if manifest.version != VERSION:
            raise ProtocolError(
                f"manifest version {manifest.version}; this program speaks {VERSION}"
            )
        return manifest

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of its bytes, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    def dealt_bytes(self, role: Role) -> int:
        """Bytes from the dealer to ``role``."""
        return sum(dealt_bytes(spec, role) for spec in self.specs)

    def layouts(self, role: Role, source: Source) -> list[Layout]:
        """`layout` of every spec. Made once."""
        known = self._layouts.get((role, source))
        if known is None:
            known = [layout(spec, role, source) for spec in self.specs]
            self._layouts[role, source] = known
        return known

    @functools.cached_property
    def _layouts(self) -> dict[tuple[Role, Source], list[Layout]]:
        return {}

    def check_size(self, limit: int) -> None:
        """Refuses a manifest before any array is made.

        A party holds a run's whole stock, as whole bytes a word: at most ``limit`` bytes. The
        dealer makes one correlation at a time, for both parties, as 64-bit words: likewise.

        Raises:
            ProtocolError: it is too large, or an axis is below 1.
        """
        held, word = 0, WORD // 8
        for spec in self.specs:
            fields = {role: spec.fields(role) for role in (CLIENT, SERVER)}
            both = [field for of_role in fields.values() for field in of_role]
            if any(not 0 < field.bits <= 64 for field in both):
                raise ProtocolError("the manifest has an impossible field")
            # A spec's own shape counts without any field: the dealer makes that array anyway.
            made = _words(getattr(spec, "shape", ()), limit)
            at_once = word * max(made, sum(_words(field.shape, limit) for field in both))
            stocked = max(sum(field.nbytes for field in of_role) for of_role in fields.values())
            held += max(word * made, stocked)
            if max(held, at_once) > limit:
                raise ProtocolError(
                    f"the manifest asks for more than {limit} bytes of randomness: run fewer or "
                    "shorter texts at once"
                )

    @functools.cached_property
    def correction_bytes(self) -> int:
        """Bytes from the client to the server ahead of the run."""
        return sum(correction_bytes(spec) for spec in self.specs)

    @property
    def offline_bytes(self) -> int:
        """All bytes that move before the input exists."""
        return self.dealt_bytes(CLIENT) + self.dealt_bytes(SERVER) + self.correction_bytes

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The server's weights by name, as the dealer must hold them (masked)."""
        linears = (spec for spec in self.specs if isinstance(spec, Linear))
        return {term.weight: term.weight_shape for spec in linears for term in spec.terms}


def _words(shape: tuple[int, ...], limit: int) -> int:
    # Axes first: a product over many large ones would itself take for ever.
    if len(shape) > MOST_AXES:
        raise ProtocolError("the manifest has an impossible field")
    if any(not 0 < n <= limit for n in shape):
        raise ProtocolError(f"the manifest has an axis outside 1 to {limit}")
    return math.prod(shape)


def layout(spec: AnySpec, role: Role, source: Source) -> Layout:
    """The fields of one source in order, with their bytes: how a stock's content is cut."""
    return tuple((f.name, f.nbytes) for f in spec.fields(role) if f.source is source)
