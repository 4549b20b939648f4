"""The exact cost of one inference, from its trace alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from veilform.drive.trace import Trace
from veilform.protocol.cost import Cost, Entry
from veilform.transport import HEADER_BYTES


@dataclass(frozen=True)
class Report:
    """One inference's cost. Bytes online count a frame header a message, as a channel does."""

    trace: Trace

    @property
    def up_bytes(self) -> int:
        """Client to server, online."""
        return sum(self.trace.up) + HEADER_BYTES * len(self.trace.up)

    @property
    def down_bytes(self) -> int:
        """Server to client, online."""
        return sum(self.trace.down) + HEADER_BYTES * len(self.trace.down)

    def by_protocol(self) -> list[tuple[str, int, Cost]]:
        """Each protocol's name, how often it runs, and its summed cost; the largest first."""
        return self._by(lambda entry: entry.protocol)

    def by_operation(self) -> list[tuple[str, int, Cost]]:
        """The same by the operations of the model; how many protocols each runs."""
        return self._by(lambda entry: entry.operation)

    def _by(self, key: Callable[[Entry], str]) -> list[tuple[str, int, Cost]]:
        sums: dict[str, tuple[int, Cost]] = {}
        for entry in self.trace.entries:
            count, total = sums.get(key(entry), (0, Cost()))
            sums[key(entry)] = (count + 1, total.plus(entry.counted))
        rows = [(name, count, total) for name, (count, total) in sums.items()]
        return sorted(rows, key=lambda row: -row[2].online_bytes - row[2].offline_bytes)

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        total = self.trace.total
        return {
            "messages": self.trace.messages,
            "messages_client_to_server": len(self.trace.up),
            "messages_server_to_client": len(self.trace.down),
            "bytes_client_to_server": self.up_bytes,
            "bytes_server_to_client": self.down_bytes,
            "online_bytes": self.up_bytes + self.down_bytes,
            "offline_bytes": total.offline_bytes,
            "offline": {
                "dealer_to_client": total.dealt_client,
                "dealer_to_server": total.dealt_server,
                "client_to_server": total.correction,
            },
            "multiply_adds": {
                "client_online": total.client_multiply_adds,
                "server_online": total.server_multiply_adds,
                "client_offline": self.trace.linear_multiply_adds,
                "dealer_offline": self.trace.dealer_multiply_adds,
            },
            "protocols": _listed(self.by_protocol()),
            "operations": _listed(self.by_operation()),
        }


def _listed(rows: list[tuple[str, int, Cost]]) -> dict[str, dict[str, int]]:
    return {name: {"runs": count, **cost._asdict()} for name, count, cost in rows}
