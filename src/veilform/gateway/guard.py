"""What every request must pass before anything else looks at it, and what every answer carries.

The gateway holds plaintext, and a browser on the same machine visits pages of strangers. A page may
send requests to 127.0.0.1, and with a name of its own that resolves there (DNS rebinding) also read
the answers. So the Host header must be one of ours, a request with an Origin must come from our own
page, and no answer allows another origin anything.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veilform.gateway.problems import Problem, problem_of

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
MOST_BODY_BYTES = 1 << 20
MOST_IMAGE_BYTES = 16 << 20
"""Of a body that is a picture."""
OPEN = frozenset(
    {"/", "/page.css", "/page.js", "/v2/health/live", "/v2/health/ready", "/openapi.json"}
)
"""Paths that need no token: they tell nothing of anybody's texts."""
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """The outermost layer.

    Args:
        hosts: names, without ports, by which this gateway may be addressed.
        token: what ``Authorization: Bearer`` must say, if anything.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._token = token.encode() if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = False

        async def sending(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
            await self._app(scope, receive, sending)
        except Exception as error:
            answer = problem_of(error).response()
            if not began:
                await answer(scope, receive, sending)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        name = host.lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] or name
        if name not in self._hosts:
            raise Problem(421, "host", "this gateway is not addressed by that Host header")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            raise Problem(403, "origin", "requests from other sites' pages are refused")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and path != "/":
            raise Problem(403, "origin", "requests from other sites' pages are refused")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Problem(400, "bad_input", "Content-Length is no number")
        is_picture = headers.get("content-type", "").lower().startswith("image/")
        most = MOST_IMAGE_BYTES if is_picture else MOST_BODY_BYTES
        if len(length) > 9 or int(length) > most:
            raise too_large(most)
        if self._token is not None and path not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
            if kind.lower() != "bearer" or not known:
                raise Problem(
                    401, "token", "a token is needed: Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer"},
                )  # fmt: skip


def too_large(most: int) -> Problem:
    """For a body over the limit."""
    return Problem(
        413, "too_large", f"the body is over the limit of {most} bytes",
        {"Connection": "close"},
    )  # fmt: skip
