"""Runs a protocol as three parties would, and checks that it moves what its trace says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from veilform import prg
from veilform.correlation import weights as masked_weights
from veilform.correlation.deal import Dealing
from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import Trace, trace
from veilform.protocol.effects import Protocol
from veilform.protocol.party import Party
from veilform.ring import WORD, signed
from veilform.roles import CLIENT, SERVER, Role
from veilform.shapes import Abstract
from veilform.values import Additive, Opened, Preshared, Weight

Program = Callable[..., Protocol[Any]]
LARGEST = 2**62 - 1

EDGES = np.array(
    sorted(
        {0, -1, 1, LARGEST, -LARGEST}
        | {sign * (2**j + d) for j in range(1, 62) for d in (-1, 0, 1) for sign in (1, -1)}
    ),
    np.int64,
)

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)


def checked(examples: int) -> settings:
    """The same examples on every run."""
    return settings(derandomize=True, deadline=None, max_examples=examples, database=None)


def values(rng: np.random.Generator, shape: tuple[int, ...], bits: int = 62) -> np.ndarray:
    """int64 values with |x| < 2^bits: edges and random ones of random sizes, mixed."""
    edges = EDGES[np.abs(EDGES.astype(object)) < 2**bits]
    drawn = rng.integers(-(2**63), 2**63, shape, np.int64) >> rng.integers(64 - bits, 64, shape)
    drawn = np.where(drawn == -(2**bits), 0, drawn)
    return np.where(rng.random(shape) < 0.5, rng.choice(edges, shape), drawn)


def words(x: np.ndarray) -> np.ndarray:
    """int64 as ring elements."""
    return np.ascontiguousarray(x, np.int64).view(np.uint64)


def anywhere(rng: np.random.Generator, shape: tuple[int, ...], ring: int) -> np.ndarray:
    """Any elements of the ring, as signed int64: edges and random ones, mixed."""
    edges = np.array([0, 1, 2 ** (ring - 1) - 1, 2 ** (ring - 1), 2**ring - 1], np.uint64)
    drawn = rng.integers(0, 2**ring, shape, np.uint64)
    return signed(np.where(rng.random(shape) < 0.3, rng.choice(edges, shape), drawn), ring)


def split(rng: np.random.Generator, x: np.ndarray, ring: int = WORD) -> dict[Role, np.ndarray]:
    """A random sharing, with a share at an edge of the ring now and then.

    Shares are not reduced: what is above the ring's bits must not matter.
    """
    x = words(x)
    quarter = 2 ** max(ring - 2, 0)
    edges = np.array([0, 1, quarter, 2 ** (ring - 1) - 1, 2 ** (ring - 1), 2**ring - 1], np.uint64)
    share = rng.integers(0, 2**64, x.shape, np.uint64)
    share = np.where(rng.random(x.shape) < 0.4, rng.choice(edges, x.shape), share)
    return {CLIENT: x - share, SERVER: share}


@dataclass
class Outcome:
    """What came out.

    Attributes:
        client, server: what each party's program returned.
        trace: what was foreseen.
        multiply_adds: what each party's kernels did.
    """

    client: Any
    server: Any
    trace: Trace
    multiply_adds: dict[Role, int] = field(default_factory=dict)

    def joined(self, index: int | None = None) -> np.ndarray:
        """A shared result (or the one of that index) put together, as int64, signed in its ring."""
        ours, theirs = (one if index is None else one[index] for one in (self.client, self.server))
        assert ours.bits == theirs.bits, "the parties hold a value in different rings"
        return signed(ours.share + theirs.share, ours.bits)


def play(
    program: Program,
    inputs: Sequence[np.ndarray] = (),
    *,
    rings: Sequence[int] | None = None,
    weights: Mapping[str, np.ndarray] | None = None,
    private: np.ndarray | None = None,
    seed: int = 0,
) -> Outcome:
    """Traces, deals and runs ``program(me, *additive inputs, *weights, private)``.

    Args:
        inputs: int64 values, shared at random.
        rings: bits of the ring of each input; 64 each if not given.
        weights: the server's, int64.
        private: the client's own, int64; None at the server.
    """
    rng = np.random.default_rng(seed)
    rings = rings or [WORD] * len(inputs)
    shares = [split(rng, x, ring) for x, ring in zip(inputs, rings, strict=True)]
    ring_weights = {name: words(w) for name, w in (weights or {}).items()}
    parties: dict[Role, Party] = {}

    def program_of(role: Role, abstract: bool = False) -> Callable[[Party], Protocol[Any]]:
        def held(me: Party) -> Protocol[Any]:
            own = role if not abstract else me.role
            parties[own] = me
            args: list[Any] = [
                Additive(Abstract(s[own].shape) if abstract else s[own], ring)
                for s, ring in zip(shares, rings, strict=True)
            ]
            for name, w in ring_weights.items():
                value = None
                if own is SERVER and not abstract:
                    value = masked_weights.packed_one(w)
                args.append(Weight(name, w.shape, value))
            if private is not None:
                mine = Abstract(private.shape) if abstract else words(private)
                args.append(mine if own is CLIENT else None)
            return program(me, *args)

        return held

    foreseen = trace(program_of(CLIENT, abstract=True))
    manifest = foreseen.manifest("test", 1, 1)
    common_seed, seeds = prg.fresh_seed(), {role: prg.fresh_seed() for role in (CLIENT, SERVER)}
    common = masked_weights.packed(
        {n: masked_weights.common_part(common_seed, n, w.shape) for n, w in ring_weights.items()}
    )
    masked = masked_weights.packed(
        {n: masked_weights.dealer_part(common_seed, n, w) for n, w in ring_weights.items()}
    )

    dealt = {CLIENT: 0, SERVER: 0}
    for parts in Dealing(manifest, seeds, masked).run():
        for role in dealt:
            dealt[role] += sum(part.nbytes for part in parts[role])
    total = foreseen.total
    assert (dealt[CLIENT], dealt[SERVER]) == (total.dealt_client, total.dealt_server), (
        f"the dealer sends {dealt}, declared were {total}"
    )
    stocks = deal_stocks(manifest, common=common, masked=masked, seeds=seeds)
    ran = run({role: program_of(role) for role in (CLIENT, SERVER)}, stocks)
    sizes = {
        role: tuple(sum(part.nbytes for part in message) for message in ran.sent[role])
        for role in (CLIENT, SERVER)
    }
    assert sizes[CLIENT] == foreseen.up, f"sent up {sizes[CLIENT]}, traced {foreseen.up}"
    assert sizes[SERVER] == foreseen.down, f"sent down {sizes[SERVER]}, traced {foreseen.down}"
    return Outcome(
        ran.results[CLIENT],
        ran.results[SERVER],
        foreseen,
        {role: me.multiply_adds for role, me in parties.items()},
    )


def as_additive(me: Party, x: Opened | Preshared | Additive) -> Additive:
    """Any held value as an additive sharing, locally."""
    return Additive(me.opened_share(x) if isinstance(x, Opened) else x.share, x.bits)


def ring_product(a: np.ndarray, b: np.ndarray, ring: int) -> np.ndarray:
    """a b elementwise, signed in a ring."""
    return signed(words(a) * words(b), ring)


def assert_dropped(got: np.ndarray, x: np.ndarray, shift: int, ring: int, what: str) -> None:
    """got is x >> shift or one more, in the ring of ``ring`` bits."""
    off = signed(words(got) - words(np.asarray(x, np.int64) >> np.int64(shift)), ring)
    # In a ring of one bit, 1 is -1.
    bad = np.ravel((off != 0) & (off != signed(np.array([1], np.uint64), ring)))
    assert not bad.any(), (
        f"{what} by {shift} bits into a ring of {ring} is off by {np.ravel(off)[bad][0]} "
        f"for {np.ravel(x)[bad][0]}"
    )
