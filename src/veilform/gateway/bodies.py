"""Reading a request's JSON body: bounded in size and in time, and typed."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from veilform.gateway.guard import MOST_BODY_BYTES, too_large
from veilform.gateway.problems import Problem

BODY_S = 10.0
"""For the whole body: a peer that sends it drop by drop is not waited for."""

_T = TypeVar("_T")


async def read_json(request: Request, kind: type[_T]) -> _T:
    """The body as ``kind``.

    Raises:
        Problem: another content type (415), too large (413), too slow (408), or not the JSON that
            is wanted (400). What was sent is never in the text.
    """
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != "application/json":
        raise Problem(415, "content_type", "send Content-Type: application/json")
    body = await read_body(request, MOST_BODY_BYTES)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        # Says the expected type and the place, not the value.
        raise Problem(
            400, "bad_input", f"the body does not fit: {_without_values(error)}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "bad_input", "the body is not JSON in UTF-8") from None


async def read_body(request: Request, most: int) -> bytes:
    """The body as it is.

    Raises:
        Problem: too large (413), or too slow (408).
    """
    try:
        return await asyncio.wait_for(_read(request, most), BODY_S)
    except (TimeoutError, asyncio.TimeoutError):
        raise Problem(
            408, "slow", f"the body did not come within {BODY_S:.0f} s", {"Connection": "close"}
        ) from None
    except ClientDisconnect:
        raise Gone from None


class Gone(Problem):
    """Who asked has closed the connection; the answer goes nowhere."""

    def __init__(self) -> None:
        super().__init__(499, "gone", "the connection was closed")


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
    return b"".join(parts)


def _without_values(error: msgspec.ValidationError) -> str:
    """The message; that of an unknown field or variant quotes what was sent, so it is left out."""
    text = str(error)
    if "unknown field" in text:
        return "an unknown field"
    return "an unknown value" if "Invalid" in text else text
