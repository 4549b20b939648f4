"""Two programs in one process, by turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from veilform.drive.execute import Codec, Messages, execute
from veilform.errors import ProtocolError
from veilform.protocol.effects import Protocol
from veilform.roles import CLIENT, SERVER, Role


@dataclass
class Ran:
    """Results by role, and every message sent by each role, in order."""

    results: dict[Role, Any] = field(default_factory=dict)
    sent: dict[Role, list[list[Any]]] = field(default_factory=lambda: {CLIENT: [], SERVER: []})


def alternate(
    programs: Mapping[Role, Protocol[Any]],
    take: Mapping[Role, Callable[[Any], Any]],
    codec: Codec | None = None,
    join: Callable[[list[Any]], Any] = b"".join,
) -> Ran:
    """Runs both parties' programs by turns until both end.

    Raises:
        ProtocolError: when both wait, or a message is left over.
    """
    ran = Ran()
    runs: dict[Role, Messages] = {
        role: execute(role, programs[role], take[role], codec) for role in (CLIENT, SERVER)
    }
    inbox: dict[Role, deque[Any]] = {CLIENT: deque(), SERVER: deque()}
    started: set[Role] = set()

    def step(role: Role) -> bool:
        """Runs one party until it waits. False if it cannot move."""
        if role in ran.results or (role in started and not inbox[role]):
            return False
        message = inbox[role].popleft() if role in started else None
        started.add(role)
        try:
            parts = runs[role].send(message)
        except StopIteration as stop:
            ran.results[role], parts = stop.value
        if parts:
            ran.sent[role].append(parts)
            inbox[role.peer].append(join(parts))
        return True

    while len(ran.results) < 2:
        if not any([step(CLIENT), step(SERVER)]):
            raise ProtocolError("both parties wait for each other")
    if any(inbox.values()):
        raise ProtocolError("a message was sent that nobody reads")
    return ran
