"""Both parties, and the dealer, in one process: for tests and experiments, never for deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from veilform import prg
from veilform.correlation.deal import Dealing
from veilform.correlation.manifest import Manifest
from veilform.correlation.masks import corrections
from veilform.correlation.stock import Stock, cut
from veilform.drive.alternate import Ran, alternate
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER, Role

Program = Callable[[Party], Protocol[Any]]


def deal_stocks(
    manifest: Manifest,
    *,
    common: Mapping[str, object] | None = None,
    masked: Mapping[str, object] | None = None,
    seeds: Mapping[Role, bytes] | None = None,
) -> dict[Role, Stock]:
    """Deals a manifest and prepares both parties' stocks, corrections included.

    Args:
        common, masked: P and s of each weight (``correlation.weights``).
    """
    seeds = seeds or {role: prg.fresh_seed() for role in (CLIENT, SERVER)}
    dealt: dict[Role, list[memoryview]] = {CLIENT: [], SERVER: []}
    for parts in Dealing(manifest, seeds, masked or {}).run():
        for role in dealt:
            dealt[role] += parts[role]
    ahead = corrections(manifest, seeds[CLIENT], common or {})
    return {
        CLIENT: Stock(
            CLIENT, manifest, seeds[CLIENT], cut(manifest, CLIENT, b"".join(dealt[CLIENT]))
        ),
        SERVER: Stock(
            SERVER,
            manifest,
            seeds[SERVER],
            cut(manifest, SERVER, b"".join(dealt[SERVER]), b"".join(ahead)),
        ),
    }


def run(programs: Mapping[Role, Program], stocks: Mapping[Role, Stock]) -> Ran:
    """Runs one program a role, with ready stocks."""
    parties = {role: Party(role) for role in (CLIENT, SERVER)}
    return alternate(
        {role: programs[role](parties[role]) for role in parties},
        {role: stocks[role].take for role in parties},
    )
