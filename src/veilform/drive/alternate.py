"""Two programs in one process, by turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from veilform.drive.execute import Await, Bytes, Codec, Fetch, Send, execute
from veilform.errors import ProtocolError
from veilform.protocol.effects import Protocol
from veilform.roles import CLIENT, SERVER, Role


@dataclass
class Ran:
    """Results by role, and every message sent by each role, in order: lists of its parts."""

    results: dict[Role, Any] = field(default_factory=dict)
    sent: dict[Role, list[list[Any]]] = field(default_factory=lambda: {CLIENT: [], SERVER: []})


class _Side:
    """One party, and the messages on their way to it."""

    def __init__(
        self, role: Role, program: Protocol[Any], take: Callable[[Any], Any], codec: Codec
    ) -> None:
        self.role = role
        self.inbox: deque[Any] = deque()
        self.ended = False
        self.result: Any = None
        self._codec = codec
        self._steps = execute(role, program, take, codec)
        self._started = False

    def run(self) -> list[Any] | None:
        """Runs until it waits or ends: the parts it sends. None if it cannot move."""
        if self.ended or (self._started and not self.inbox):
            return None
        message, used = None, 0
        reply: Any = None
        if self._started:
            message = self.inbox.popleft()
            reply = self._codec.size(message)
        self._started = True
        parts: list[Any] = []
        while True:
            try:
                step = self._steps.send(reply)
            except StopIteration as stop:
                self.ended, self.result = True, stop.value
                return parts
            reply = None
            if isinstance(step, Send):
                parts.append(step.part)
            elif isinstance(step, Fetch):
                reply = self._codec.cut(message, used, used + step.nbytes)
                used += step.nbytes
            elif isinstance(step, Await):
                return parts


def alternate(
    programs: Mapping[Role, Protocol[Any]],
    take: Mapping[Role, Callable[[Any], Any]],
    codecs: Mapping[Role, Codec] | None = None,
) -> Ran:
    """Runs both parties' programs by turns until both end.

    Args:
        codecs: each party's; real bytes by default.

    Raises:
        ProtocolError: when both wait, or a message is left over.
    """
    codecs = codecs or {role: Bytes() for role in (CLIENT, SERVER)}
    ran = Ran()
    sides = {
        role: _Side(role, programs[role], take[role], codecs[role]) for role in (CLIENT, SERVER)
    }
    while not all(side.ended for side in sides.values()):
        moved = False
        for role, side in sides.items():
            parts = side.run()
            moved |= parts is not None
            if parts:
                ran.sent[role].append(parts)
                sides[role.peer].inbox.append(codecs[role].join(parts))
        if not moved:
            raise ProtocolError("both parties wait for each other")
    if any(side.inbox for side in sides.values()):
        raise ProtocolError("a message was sent that nobody reads")
    ran.results.update({role: side.result for role, side in sides.items()})
    return ran
