"""The dealer's computing in the processes of its cluster: each deals whole stocks.

The dealer itself keeps its connections, checks what clients order, draws the seeds and hands out.
To a worker go a manifest, both seeds, and masked weights; both parties' dealt bytes come back. Any
of it with a client's or the server's records gives secrets away: the cluster is the dealer's alone.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from veilform.correlation.manifest import Manifest
from veilform.ring import Words
from veilform.roles import CLIENT, SERVER, Role
from veilform.serve.dealing import Here, Parts
from veilform.serve.segments import SEGMENT_BYTES
from veilform.spread.cluster import Cluster, fetch

_HEAD = struct.Struct("<Q")
"""Before each item: bytes of the client's part. The rest is the server's."""
Kept = tuple[str, tuple[int, ...], object]
"""A weight's name and shape, and where the cluster keeps it."""


class Spread:
    """The dealer's hands, in a cluster. See `veilform.serve.dealing.Deals`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def hold(self, name: str, masked: Words) -> object:
        """In the cluster's memory, for as long as the dealer keeps these weights.

        Raises:
            StockError: it has no room.
        """
        return name, masked.shape, self._cluster.put(masked.astype("<u8").tobytes())

    def run(
        self, manifest: Manifest, seeds: Mapping[Role, bytes], held: Mapping[str, object]
    ) -> Iterator[Parts]:
        """All of a stock, some correlations at a time. A worker that dies is replaced.

        Raises:
            ConnectionFailed: the cluster fails, or workers go on dying.
        """
        items = self._cluster.stream(
            deal, manifest.encode(), seeds[CLIENT], seeds[SERVER], list(held.values())
        )
        for item in items:
            first, view = _HEAD.size, memoryview(item)
            (size,) = _HEAD.unpack_from(item)
            yield {CLIENT: [view[first : first + size]], SERVER: [view[first + size :]]}


class _Packed(Mapping[str, object]):
    """Masked weights, each fetched and packed when it is first asked for."""

    def __init__(self, kept: Sequence[Kept]) -> None:
        self._kept = {name: (shape, where) for name, shape, where in kept}
        self._packed: dict[str, object] = {}

    def __getitem__(self, name: str) -> object:
        if name not in self._packed:
            shape, where = self._kept[name]
            words: Words = np.frombuffer(fetch(where), "<u8", math.prod(shape)).reshape(shape)
            self._packed[name] = Here().hold(name, words)
        return self._packed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


_newest: dict[str, _Packed] = {}
"""In a worker: the weights that it dealt with last, by their id."""


def deal(
    manifest: bytes, client_seed: bytes, server_seed: bytes, kept: Sequence[Kept]
) -> Iterator[bytes]:
    """In a worker: a stock in items of some megabytes, which follow from the arguments."""
    order = Manifest.decode(manifest)
    if order.weights not in _newest:
        _newest.clear()
        _newest[order.weights] = _Packed(kept)
    seeds = {CLIENT: client_seed, SERVER: server_seed}
    parts: dict[Role, list[memoryview]] = {CLIENT: [], SERVER: []}
    size = 0
    for dealt in Here().run(order, seeds, _newest[order.weights]):
        for role, some in dealt.items():
            parts[role] += some
            size += sum(map(len, some))
        if size >= SEGMENT_BYTES:
            yield _item(parts)
            parts, size = {CLIENT: [], SERVER: []}, 0
    if size:
        yield _item(parts)


def _item(parts: Parts) -> bytes:
    size = sum(map(len, parts[CLIENT]))
    return b"".join([_HEAD.pack(size), *parts[CLIENT], *parts[SERVER]])
