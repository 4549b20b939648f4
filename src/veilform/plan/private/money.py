"""Dollars: machines by the hour, and bytes that leave a provider by the gigabyte."""

from __future__ import annotations

from typing import NamedTuple


class Prices(NamedTuple):
    """What is paid for.

    Attributes:
        hour: dollars an hour of each party's machine.
        egress: dollars a GB (10^9 bytes) that a party sends to another.
    """

    hour: float = 0.085
    egress: float = 0.09


class Dollars(NamedTuple):
    """Of one inference."""

    computing: float
    egress: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.computing + self.egress


def dollars(online_s: float, offline_s: float, moved_bytes: int, prices: Prices) -> Dollars:
    """Client and server are busy online; offline the dealer is, too.

    Args:
        moved_bytes: between all parties, online and offline.
    """
    hours = (2 * online_s + 3 * offline_s) / 3600
    return Dollars(hours * prices.hour, moved_bytes / 1e9 * prices.egress)
