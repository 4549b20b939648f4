"""A classification told as it goes, for the page: server-sent events.

``progress`` for every message that passes, with its first bytes as they crossed the network;
``answer`` at the end, or ``failed``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import StreamingResponse

from veilform.drive.network import Passed
from veilform.errors import InputError
from veilform.gateway.bodies import read_json
from veilform.gateway.plain import Asked, cost_of
from veilform.gateway.problems import Problem, problem_of
from veilform.gateway.running import followed
from veilform.gateway.served import Catalogue, Served
from veilform.models.answers import CLASSIFICATION, IMAGES
from veilform.models.text import Pair, Text


class Events:
    """The endpoint."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def classify(self, request: Request) -> StreamingResponse:
        """POST /ui/classify, with one text."""
        asked = await read_json(request, Asked)
        served = self._catalogue.find(*asked.which())
        if served.task is IMAGES:
            served.require(CLASSIFICATION)
        texts = asked.contents()
        if len(texts) != 1:
            raise Problem(400, "bad_input", "one text at a time here; see /classify")
        try:
            length = served.pool.padded(served.encoded(texts)[0])
        except InputError as error:
            raise problem_of(error) from None
        stream = _stream(served, texts[0], asked.deadline_s, length)
        return StreamingResponse(stream, media_type="text/event-stream")


async def _stream(
    served: Served, text: Text | Pair, deadline_s: float, length: int
) -> AsyncIterator[bytes]:
    try:
        async with contextlib.aclosing(followed(served, text, deadline_s)) as steps:
            yield _event("accepted", {"length": length, "waiting": served.pool.state.waiting})
            async for step in steps:
                if isinstance(step, Passed):
                    yield _event("progress", {**step._asdict(), "head": step.head.hex()})
                else:
                    answer = {**served.result(step), "cost": cost_of(step), "length": length}
                    yield _event("answer", answer)
    except Exception as error:
        problem = problem_of(error)
        yield _event("failed", {"error": problem.text, "code": problem.code})


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
