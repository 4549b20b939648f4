"""A client as a session of a pool, with stocks of its own made while nothing waits."""

from __future__ import annotations

from collections import Counter
from typing import Any

from veilform.drive.network import Follow
from veilform.errors import Overloaded
from veilform.models.bert.sides import Shape
from veilform.models.text import TokenBatch
from veilform.serve.client import Client
from veilform.serve.sessions import Result

MOST_SHAPES = 4


class ClientSession:
    """One connection to server and dealer.

    Args:
        level: stocks to hold ready for each shape that was asked for of late.
    """

    def __init__(self, client: Client, level: int) -> None:
        self._client, self._level = client, level
        self._held: Counter[Shape] = Counter()
        self._wanted: list[Shape] = []

    def infer(self, batch: TokenBatch, stock: Any, patience_s: float, follow: Follow) -> Result:
        shape = Shape(*batch.ids.shape)
        self._wanted = [shape, *(each for each in self._wanted if each != shape)][:MOST_SHAPES]
        if not self._held[shape]:
            self._client.prepare(shape)
            self._held[shape] += 1
        self._held[shape] -= 1
        try:
            return self._client.infer(batch, patience_s, follow)
        except Overloaded:
            self._held[shape] += 1  # it was not touched
            raise

    def ahead(self) -> bool:
        for shape in self._wanted:
            if self._held[shape] < self._level:
                self._client.prepare(shape)
                self._held[shape] += 1
                return True
        return False

    def close(self) -> None:
        self._client.close()
