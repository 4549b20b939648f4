"""From inputs to outcomes: waits for a pool without holding up the other requests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request

from veilform.drive.network import Passed
from veilform.errors import RangeError
from veilform.gateway.bodies import Gone
from veilform.gateway.served import Served
from veilform.serve.pool import Outcome, Ticket
from veilform.serve.sessions import late

DEADLINE_S = 60.0
SHORTEST_DEADLINE_S = 1.0
LONGEST_DEADLINE_S = 600.0
INLINE_CHARACTERS = 4096
"""Turned into tokens at once; more would hold up other requests, and goes to another thread."""
READERS = ThreadPoolExecutor(2, "reads")
"""So few at a time: a picture of some kilobytes may decode to hundreds of megabytes."""


async def outcomes(
    request: Request, served: Served, inputs: Sequence[Any], deadline_s: float
) -> list[Outcome]:
    """What the inputs' runs gave, in order. All of them run, whatever the others give.

    Raises:
        VeilformError: the first input's that failed.
        Gone: who asked has left. What waited is dropped.
    """
    tickets = await _submit(served, inputs, deadline_s, None)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        return await _all(tickets, gone)
    finally:
        gone.cancel()


async def followed(
    served: Served, text: Any, deadline_s: float
) -> AsyncGenerator[Passed | Outcome, None]:
    """The messages of one text's run as they pass, and its outcome at the end.

    Raises:
        VeilformError: as in `outcomes`. Closing the iterator drops a text that waits.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Passed | None] = asyncio.Queue()

    def put(passed: Passed | None) -> None:
        # A run may outlive who asked, and the loop.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, passed)

    (ticket,) = await _submit(served, [text], deadline_s, put)
    ticket.future.add_done_callback(lambda done: put(None))
    try:
        while True:
            left = max(0.0, ticket.deadline - time.monotonic())
            try:
                passed = await asyncio.wait_for(queue.get(), left)
            except (TimeoutError, asyncio.TimeoutError):
                raise late() from None
            if passed is None:
                yield ticket.future.result()
                return
            yield passed
    finally:
        ticket.future.cancel()


async def _submit(
    served: Served,
    inputs: Sequence[Any],
    deadline_s: float,
    follow: Callable[[Passed], None] | None,
) -> list[Ticket]:
    deadline = time.monotonic() + deadline_s

    def submit() -> list[Ticket]:
        return served.pool.submit(served.encoded(inputs), deadline, follow)

    if sum(map(_size, inputs)) <= INLINE_CHARACTERS:
        return submit()
    reading = asyncio.get_running_loop().run_in_executor(READERS, submit)
    try:
        return await asyncio.wait_for(reading, deadline_s)
    except (TimeoutError, asyncio.TimeoutError):
        raise late() from None


def _size(given: Any) -> int:
    """In characters; a picture takes longer than any text."""
    if isinstance(given, str):
        return len(given)
    return sum(map(len, given)) if isinstance(given, tuple) else INLINE_CHARACTERS + 1


async def _all(tickets: list[Ticket], gone: asyncio.Future[None]) -> list[Outcome]:
    futures = [asyncio.wrap_future(ticket.future) for ticket in tickets]
    everything = asyncio.gather(*futures, return_exceptions=True)
    left = max(0.0, tickets[0].deadline - time.monotonic())
    either: set[asyncio.Future[Any]] = {everything, gone}
    done, _ = await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    if everything not in done:
        # Drops what waits; what runs is let run out.
        everything.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await everything
        raise Gone if gone in done else late()
    results = []
    for number, result in enumerate(everything.result(), 1):
        if isinstance(result, RangeError):
            raise RangeError(f"text {number}: {result}")
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
