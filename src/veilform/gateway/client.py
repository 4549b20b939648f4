"""``GatewayClassifier(url)(texts)``: a gateway's answers, in the manner of Hugging Face.

It needs nothing but Python, so a program that asks a gateway can do without Veilform's other parts:
this file alone may be copied.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 90.0
LATER_S = 1.0
"""On top of a request's time: the gateway keeps to it, and says so when it is over."""
AT_ONCE = 64
"""Texts that the gateway takes in one request."""


class GatewayError(Exception):
    """A gateway refused or failed.

    Attributes:
        status: of HTTP; 0 if there was no answer.
        code: a word for programs, such as "stock_low", "overloaded", "out_of_range", "deadline".
        retry_s: seconds after which to try again, if the gateway said so.
    """

    def __init__(self, status: int, code: str, text: str, retry_s: float | None = None) -> None:
        super().__init__(text)
        self.status, self.code, self.retry_s = status, code, retry_s


class _Gateway:
    """One model behind a gateway.

    Args:
        url: such as http://127.0.0.1:8080.
        model, version: the gateway's first if left out.
        token: if the gateway wants one.
        timeout_s: for a whole request.
    """

    _path = ""

    def __init__(
        self,
        url: str,
        model: str | None = None,
        version: str | None = None,
        *,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// address")
        self._at, self._timeout_s = parts, timeout_s
        self._prefix = parts.path.rstrip("/")
        self._which = {"model": model, "version": version, "deadline_s": timeout_s}
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def _results(self, texts: str | Mapping[str, str] | Iterable[Any]) -> list[dict[str, Any]]:
        rows = [texts] if isinstance(texts, str | Mapping) else list(texts)
        found: list[dict[str, Any]] = []
        for start in range(0, len(rows), AT_ONCE):
            found += self._ask(rows[start : start + AT_ONCE])
        return found

    def _connection(self) -> http.client.HTTPConnection:
        secure = self._at.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        return kind(self._at.hostname or "", self._at.port, timeout=self._timeout_s + LATER_S)

    def _ask(self, rows: list[Any]) -> list[dict[str, Any]]:
        return self._post(self._path, json.dumps({"texts": rows, **self._asked()}).encode())

    def _asked(self) -> dict[str, Any]:
        return {name: value for name, value in self._which.items() if value is not None}

    def _post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        connection = self._connection()
        try:
            sent = {**self._headers, **(headers or {})}
            connection.request("POST", self._prefix + path, body, sent)
            response = connection.getresponse()
            status, retry, content = (
                response.status,
                response.headers["Retry-After"],
                response.read(),
            )
        except (OSError, http.client.HTTPException) as error:
            raise GatewayError(0, "unreachable", f"the gateway gave no answer: {error}") from None
        finally:
            connection.close()
        try:
            document = json.loads(content)
            if status == 200:
                return list(document["results"])
            text, code = str(document["error"]), str(document["code"])
        except (ValueError, KeyError, TypeError):
            raise GatewayError(status, "http", f"the gateway answered with {status}") from None
        raise GatewayError(status, code, text, float(retry) if retry else None)


class GatewayClassifier(_Gateway):
    """Label and score of each text."""

    _path = "/classify"

    def __call__(
        self, texts: str | Mapping[str, str] | Iterable[str | Mapping[str, str]]
    ) -> list[dict[str, Any]]:
        """``{"label": ..., "score": ...}`` of each text, or pair {"text": ..., "text_pair": ...}.

        Raises:
            GatewayError: it was refused, or there is no answer.
        """
        return [{"label": one["label"], "score": one["score"]} for one in self._results(texts)]


class GatewayImageClassifier(_Gateway):
    """Label and score of each picture."""

    def __call__(self, pictures: Iterable[bytes | os.PathLike[str]]) -> list[dict[str, Any]]:
        """``{"label": ..., "score": ...}`` of each picture, a file or one's content.

        Raises:
            GatewayError: it was refused, or there is no answer.
            OSError: a file cannot be read.
        """
        path = f"/classify?{urllib.parse.urlencode(self._asked())}"
        found = []
        for picture in pictures:
            body = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
            (one,) = self._post(path, body, {"Content-Type": "image/*"})
            found.append({"label": one["label"], "score": one["score"]})
        return found


class GatewayEmbedder(_Gateway):
    """The vector of each text."""

    _path = "/embed"

    def __call__(
        self, texts: str | Mapping[str, str] | Iterable[str | Mapping[str, str]]
    ) -> list[list[float]]:
        """Numbers of each text; not normalised.

        Raises:
            GatewayError: it was refused, or there is no answer.
        """
        return [list(one["embedding"]) for one in self._results(texts)]
