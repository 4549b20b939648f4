"""When a run ends: two parties' clocks, and a link that carries bytes between them.

Both send a message's parts as they have them, and wait only for bytes that they need. So does this:
a party's clock moves by what it computes, and, where it reads, to when the last byte has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from veilform.plan.private.machine import Machine
from veilform.plan.private.rehearse import KINDS, MESSAGE, RECEIVE, SEND, Step
from veilform.roles import CLIENT, SERVER, Role
from veilform.transport.links import Link, Timetable

HANDSHAKES = 1
"""Round trips before a run: the client names the stock, and the server agrees."""


class Timed(NamedTuple):
    """Seconds of a run, and how the client spent them, by operation; ``waiting`` is part of each.

    Attributes:
        computing: by operation, what the slower party computes.
        waiting: by operation, what is neither: bytes on their way, and the other party's turn.
        path: what nothing overlapped, as multiples of the machine's ``step`` and ``unit`` rates,
            in this order: with the link's part, it is what the seconds are made of.
    """

    seconds: float
    computing: dict[str, float]
    waiting: dict[str, float]
    path: tuple[float, ...]

    def longer(self, operation: str, seconds: float) -> Timed:
        """With more computing in one operation, which nothing overlaps."""
        computing = {**self.computing, operation: self.computing[operation] + seconds}
        return self._replace(seconds=self.seconds + seconds, computing=computing)


class _Clock:
    def __init__(self, steps: Sequence[Step], scale: Mapping[str, float], link: Link) -> None:
        self.steps, self.scale = steps, scale
        self.at, self.now, self.read = 0, 0.0, 0
        self.wire = Timetable(link)
        # So many bytes have arrived when, and what was done before.
        self.sent: list[tuple[int, float, list[float]]] = []
        self.cursor = 0
        self.spent: dict[str, float] = {}
        self.computed: dict[str, float] = {}
        self.path = [0.0] * (1 + len(KINDS))

    def await_bytes(self, needed: int, peer: _Clock) -> bool:
        """Waits until the peer's first ``needed`` bytes are here; False if it has not sent them."""
        while self.cursor < len(peer.sent) and peer.sent[self.cursor][0] < needed:
            self.cursor += 1
        if self.cursor == len(peer.sent):
            return False
        _, ready, path = peer.sent[self.cursor]
        if ready > self.now:
            self.now, self.path = ready, list(path)
        return True

    def work(self, step: Step, machine: Machine) -> None:
        """Does a step's computing."""
        # Both wake up at once, and keep no core busy with it.
        scale = 1.0 if step.kind == MESSAGE else self.scale[step.operation]
        taken = scale * machine.seconds(step.kind, 1, step.units)
        self.now += taken
        self.computed[step.operation] = self.computed.get(step.operation, 0.0) + taken
        self.path[0] += scale * (step.kind != MESSAGE)
        self.path[1 + KINDS.index(step.kind)] += scale * step.units

    def run(self, peer: _Clock, machine: Machine) -> bool:
        """Goes on as far as it can; whether it got anywhere."""
        start = self.at
        while self.at < len(self.steps):
            step = self.steps[self.at]
            before = self.now
            if step.kind == RECEIVE:
                if not self.await_bytes(self.read + step.units, peer):
                    break
                self.read += step.units
            self.work(step, machine)
            if step.kind == SEND:
                total = (self.sent[-1][0] if self.sent else 0) + step.units
                arrival = self.wire.arrival(self.now, step.units)
                self.sent.append((total, arrival, list(self.path)))
            passed = self.now - before
            self.spent[step.operation] = self.spent.get(step.operation, 0.0) + passed
            self.at += 1
        return self.at > start


def run_seconds(
    steps: Mapping[Role, Sequence[Step]], machine: Machine, link: Link, *, apart: bool = False
) -> Timed:
    """The time of a run over a link, from the client's input to its answer.

    Args:
        apart: the parties have a machine each. Otherwise they share one: while both compute, each
            has half of it.
    """
    scales = {role: dict.fromkeys((step.operation for step in steps[role]), 1.0) for role in steps}
    if not apart:
        scales = {role: machine.shares(steps, role) for role in steps}
    clocks = {role: _Clock(steps[role], scales[role], link) for role in (CLIENT, SERVER)}
    client, server = clocks[CLIENT], clocks[SERVER]
    while client.run(server, machine) | server.run(client, machine):
        pass
    assert all(clock.at == len(clock.steps) for clock in clocks.values()), "both parties wait"
    begin = machine.start + HANDSHAKES * link.round_trip_s
    computing = {
        name: max(clock.computed.get(name, 0.0) for clock in clocks.values())
        for name in client.spent
    }
    waiting = {
        name: max(0.0, spent - client.computed.get(name, 0.0))
        for name, spent in client.spent.items()
    }
    return Timed(begin + client.now, computing, waiting, tuple(client.path))
