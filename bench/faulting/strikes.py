"""The kinds of fault. Each strikes, and has passed when its function returns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from faulting.deployment import Deployment
from faulting.disk import allow_files
from faulting.parties import Party

LASTS_S = (0.3, 2.0)
"""How long a disk is full, or a clock wrong."""
FULL_AT = (0, 1 << 16, 1 << 20)
JUMPS_S = (-86_400, -3_600, -5, 5, 3_600, 86_400, 40 * 86_400, 400 * 86_400)
VALID_S = 300 * 86_400
"""Certificates last longer than that: a party that starts under a later clock refuses to."""

Strike = Callable[[Deployment, random.Random], str]
"""Strikes; what was struck, for who reads a failure."""


def killed(name: str) -> Strike:
    """A party dies (SIGKILL), and is started again."""

    def strike(at: Deployment, _: random.Random) -> str:
        party: Party = getattr(at, name)
        party.kill()
        party.start()
        return ""

    return strike


def cut(at: Deployment, chance: random.Random) -> str:
    """A line breaks, with all connections in it."""
    number = chance.randrange(len(at.lines))
    return f"line {number}, {at.lines[number].cut()} connections"


def full(at: Deployment, chance: random.Random) -> str:
    """The disk of a party that keeps stocks takes no more for a while."""
    name = chance.choice(list(at.disks))
    disk, party = at.disks[name], getattr(at, name)
    lasts = chance.uniform(*LASTS_S)
    if disk.mounted and chance.random() < 0.5:
        disk.fill()
        time.sleep(lasts)
        disk.free()
        return f"{name}: no room"
    most = chance.choice(FULL_AT)
    allow_files(party, most)
    time.sleep(lasts)
    allow_files(party, None)
    return f"{name}: no file over {most} bytes"


def jumped(at: Deployment, chance: random.Random) -> str:
    """A party's wall clock is wrong for a while; it may have to start or to connect by it, too."""
    party, seconds = chance.choice(at.parties), chance.choice(JUMPS_S)
    more = chance.choice(("", ", started again", ", all lines cut"))
    if not 0 < seconds < VALID_S:
        more = ", all lines cut" if more else ""
    party.clock.set(seconds)
    if more == ", started again":
        party.kill()
        party.start()
    elif more:
        for line in at.lines:
            line.cut()
    time.sleep(chance.uniform(*LASTS_S))
    party.clock.set(0)
    return f"{party.name}, {seconds} s{more}"


KINDS: dict[str, Strike] = {
    "client killed": killed("client"),
    "gateway killed": killed("gateway"),
    "server killed": killed("server"),
    "dealer killed": killed("dealer"),
    "connection cut": cut,
    "disk full": full,
    "clock jump": jumped,
}
