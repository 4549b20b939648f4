"""host:port."""

from __future__ import annotations

from veilform.errors import InputError


def parse(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``; an IPv6 host stands in brackets.

    Raises:
        InputError: when it is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InputError(f"{text!r} is no host:port, such as 127.0.0.1:7001")
    return host.removeprefix("[").removesuffix("]"), int(port)


def following(text: str, number: int) -> str:
    """The address so many ports further; port 0, which is any free one, stays.

    Raises:
        InputError: there is no such port.
    """
    _, port = parse(text)
    found = f"{text.rpartition(':')[0]}:{port + number if port else 0}"
    parse(found)
    return found
