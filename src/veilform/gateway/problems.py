"""Errors as HTTP answers: one JSON shape, {"error": text, "code": word}; never a user's text."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Mapping
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from veilform.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    Overloaded,
    ProtocolError,
    RangeError,
    StockError,
    StockLow,
    VeilformError,
)

log = logging.getLogger("veilform")

RETRY_S = 1.0
_STATUS: Mapping[type[VeilformError], tuple[int, str]] = {
    RangeError: (422, "out_of_range"),
    InputError: (400, "bad_input"),
    StockLow: (503, "stock_low"),
    StockError: (503, "stock"),
    Overloaded: (429, "overloaded"),
    DeadlineExceeded: (504, "deadline"),
    ConnectionFailed: (502, "unreachable"),
    ProtocolError: (502, "protocol"),
}
_CODES = {404: "not_found", 405: "method"}


class Problem(Exception):
    """An answer that is no success.

    Args:
        code: a word for programs; the text is for people.
    """

    def __init__(
        self, status: int, code: str, text: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.headers = status, code, text, dict(headers or {})

    def body(self) -> bytes:
        """The JSON document."""
        return msgspec.json.encode({"error": self.text, "code": self.code})

    def response(self) -> Response:
        """The whole answer."""
        return Response(self.body(), self.status, self.headers, "application/json")


def problem_of(error: Exception) -> Problem:
    """What an error is to who asked. An unexpected one is logged by kind and place, not by text."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "http")
        return Problem(error.status_code, code, str(error.detail), error.headers)
    for kind in type(error).__mro__:
        if kind in _STATUS:
            status, code = _STATUS[kind]
            retry_s = error.retry_s if isinstance(error, StockLow) else RETRY_S
            retry = {"Retry-After": str(math.ceil(retry_s))} if status in (429, 503) else {}
            return Problem(status, code, str(error), retry)
    frames = traceback.extract_tb(error.__traceback__)
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    log.error("a request failed: %s%s", type(error).__name__, at)
    return Problem(500, "internal", "it failed; the gateway's log says more")


def handle(request: Request, error: Exception) -> Response:
    """For Starlette."""
    return problem_of(error).response()
