"""Control messages: small typed records as msgpack, decoded strictly.

A message type is a `Control` subclass. Its name travels as a tag, so one kind cannot be taken for
another, and a field that the type does not have is refused.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any, TypeVar, Union

import msgspec

from veilform.errors import ProtocolError

CONTROL_LIMIT_BYTES = 2**20
TEXT_LIMIT_BYTES = 1024


class Control(msgspec.Struct, tag=True, forbid_unknown_fields=True, frozen=True):
    """Base of every control message: tagged by its name, immutable, no unknown fields.

    class Request(Control, frozen=True):
        model: str

    Its text form is its name: a field may be a seed.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class _Nothing(Control, frozen=True):
    """Never sent."""


ControlT = TypeVar("ControlT", bound=Control)

_ENCODER = msgspec.msgpack.Encoder()


def encode_control(message: Control) -> bytes:
    """The msgpack bytes of a message."""
    return _ENCODER.encode(message)


def decode_control(
    payload: bytearray | memoryview, types: tuple[type[ControlT], ...], peer: str
) -> ControlT:
    """The message in ``payload``, which must be one of ``types``.

    Raises:
        ProtocolError: it is none of them, has an unknown or ill-typed field, or is no msgpack.
        TypeError: a type is no `Control` subclass.
    """
    decoder = _decoder(types)
    try:
        message = decoder.decode(payload)
        if isinstance(message, types):
            return message
        raise ValueError("another message")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wanted = " or ".join(each.__name__ for each in types)
        raise ProtocolError(
            f"{peer} sent a control message that is no valid {wanted}: {printable(str(error), 200)}"
        ) from None


@functools.lru_cache(maxsize=256)
def _decoder(types: tuple[type[ControlT], ...]) -> msgspec.msgpack.Decoder[Any]:
    for each in types:
        if not issubclass(each, Control):
            raise TypeError(f"{each!r} is no subclass of Control")
        config = each.__struct_config__
        if not config.forbid_unknown_fields or config.tag is None:
            raise TypeError(f"{each.__name__} must keep its tag and refuse unknown fields")
    # msgspec demands the tag only where there is a choice, so there always is one.
    return msgspec.msgpack.Decoder(Union[(*types, _Nothing)])


def printable(text: str, limit_bytes: int = TEXT_LIMIT_BYTES) -> str:
    """``text`` on one line: no control, format or unassigned characters, at most so many bytes.

    A peer's words end up on a terminal or in a log, where escape sequences would act.
    """
    spaced = (" " if character in "\t\r\n" else character for character in text)
    kept = "".join(c for c in spaced if c == " " or c.isprintable())
    kept = "".join(c for c in kept if unicodedata.category(c)[0] != "C").strip()
    return kept.encode()[:limit_bytes].decode(errors="ignore")
