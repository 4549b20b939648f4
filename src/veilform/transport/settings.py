"""Limits of a channel: how long it waits and how much it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits of a channel.

    Attributes:
        timeout_s: seconds to wait for a frame to begin, for room to send, and so on. The peer may
            be computing meanwhile, so this bounds its longest computation between two messages.
        slowest_bytes_per_s: a payload of n bytes has n divided by this more seconds to arrive.
        queue_bytes: bytes that may wait to be sent before a send call waits.
        close_timeout_s: seconds that `close` gives to what is still queued.
    """

    timeout_s: float = 60.0
    slowest_bytes_per_s: float = 2.0**20
    queue_bytes: int = 2**26
    close_timeout_s: float = 10.0
