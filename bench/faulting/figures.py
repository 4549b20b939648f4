"""What came of it: the rows of the table, and what must not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from faulting import audit, witness
from faulting.asking import DIRECT, GONE, HUNG, KILLED, THROUGH, Asked
from faulting.audit import Change
from faulting.witness import Seen

UNCLEAR = {"http", "internal", "bad_input", "VeilformError", HUNG}
"""Codes that do not say what is wrong. No fault makes a text a bad input."""
_EXCUSES = {GONE: "gateway", KILLED: "client"}
"""Codes that only the death of a party may bring."""


class Struck(NamedTuple):
    """One fault: when it struck, when it was over, and when the service answered again."""

    kind: str
    detail: str
    began: float
    over: float
    back_s: float | None
    failed: str = ""


class Bounds(NamedTuple):
    """What a request may take, and how near a tie a label is not compared, in seconds."""

    deadline_s: float
    grace_s: float


def rows(struck: Sequence[Struck], asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """One for each kind: its requests are those that were under way until service was back."""
    found = []
    for kind in dict.fromkeys(each.kind for each in struck):
        these = [each for each in struck if each.kind == kind]
        within = [one for one in asked if any(_touches(one, each) for each in these)]
        back = sorted(each.back_s for each in these if each.back_s is not None)
        found.append({
            "kind": kind, "faults": len(these), "requests": len(within),
            "answered": sum(one.label is not None for one in within),
            "errors": dict(Counter(one.code for one in within if one.code).most_common()),
            "hung": sum(one.code == HUNG for one in within),
            "back_s": {"p50": round(back[len(back) // 2], 2), "max": round(back[-1], 2)}
            if back else None,
        })  # fmt: skip
    return found


def _touches(one: Asked, fault: Struck) -> bool:
    end = fault.over + (fault.back_s or 0.0)
    return one.began < end and one.ended > fault.began


def of_requests(
    asked: Sequence[Asked], labels: Sequence[str | None], struck: Sequence[Struck], bounds: Bounds
) -> list[str]:
    """What must not come of a request."""
    found = []
    for one in asked:
        took = one.ended - one.began
        if one.label and labels[one.text] not in (None, one.label):
            found.append(f"text {one.text} was {one.label}")
        if took > bounds.deadline_s + bounds.grace_s:
            found.append(f"{one.way}: a request took {took:.1f} s")
        if one.code in UNCLEAR:
            found.append(f"{one.way}: an error was {one.code!r}")
        if one.code in _EXCUSES and not _died(one, _EXCUSES[one.code], struck):
            found.append(f"{one.code}, and nobody killed it")
    return found


def _died(one: Asked, party: str, struck: Sequence[Struck]) -> bool:
    return any(
        _touches(one, each) and (each.kind == f"{party} killed" or each.detail.startswith(party))
        for each in struck
    )


def of_faults(struck: Sequence[Struck], limit_s: float) -> list[str]:
    """What must not come of a fault."""
    found = [f"after {each.kind} ({each.detail}): {each.failed}" for each in struck if each.failed]
    return found + [
        f"no answer for {limit_s:g} s after {each.kind} ({each.detail})"
        for each in struck if each.back_s is None
    ]  # fmt: skip


def of_stocks(
    changes: Mapping[str, list[Change]], seen: Sequence[Seen], lost: bool, asked: Sequence[Asked]
) -> list[str]:
    """What must not come of a stock; ``changes`` by folder: server, gateway, client."""
    clients = {name: each for name, each in changes.items() if name != "server"}
    found = [each for name in changes for each in audit.violations(name, changes[name])]
    found += audit.between(clients, changes["server"])
    found += witness.violations(seen, lost, "server", list(clients))
    for name in changes:
        strange = set(witness.read(seen, name)) - audit.used(changes[name])
        found += [f"{name}: file {i[:8]} was read, and is not used" for i in strange]
    for way, name in ((THROUGH, "gateway"), (DIRECT, "client")):
        answers, reads = (
            [one for one in asked if one.way == way and one.label],
            set(witness.read(seen, name)),
        )
        if len(answers) > len(reads):
            found.append(f"{name}: {len(answers)} answers with {len(reads)} stocks")
        told = Counter(one.stock for one in answers if one.stock)
        found += [f"{name} told of stock {i[:8]} twice" for i, n in told.items() if n > 1]
        found += [f"{name} told of stock {i[:8]}, unread" for i in told.keys() - reads]
    return found


def stocks(changes: Mapping[str, list[Change]], seen: Sequence[Seen]) -> dict[str, Any]:
    """How many stocks came to each state, and how many files were read."""
    return {
        name: audit.counts(each) | {"read": len(witness.read(seen, name))}
        for name, each in changes.items()
    }
