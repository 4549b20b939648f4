"""A link between two network namespaces as a process: TUN devices, with a delay and a bandwidth.

For kernels without the netem queue. Packets are the kernel's own, so TCP behaves as on a line of
that round trip: slow start, windows, acknowledgements. What is over the queue is dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import select
import struct
import time
from collections import deque

from veilform.transport import Link

QUEUE_BYTES = 8 << 20
MTU = 9000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


def open_tun(name: str) -> int:
    """A new TUN device; it lives as long as the descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


def start(one: int, other: int, link: Link) -> multiprocessing.Process:
    """Carries packets between two devices until it is terminated."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_carry, args=(one, other, link), daemon=True)
    process.start()
    return process


class _Way:
    """One direction: packets read, waiting for their time."""

    def __init__(self, source: int, target: int, link: Link) -> None:
        self.source, self.target, self.link = source, target, link
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.held, self.free_at = 0, 0.0

    def read(self, now: float) -> None:
        while True:
            try:
                packet = os.read(self.source, MTU + 64)
            except BlockingIOError:
                return
            if self.held + len(packet) > QUEUE_BYTES:
                continue
            taken = 8 * len(packet) / self.link.bandwidth_bits_per_s
            self.free_at = max(now, self.free_at) + taken
            self.waiting.append((self.free_at + self.link.round_trip_s / 2, packet))
            self.held += len(packet)

    def write(self, now: float) -> None:
        while self.waiting and self.waiting[0][0] <= now:
            _, packet = self.waiting.popleft()
            self.held -= len(packet)
            with contextlib.suppress(OSError):  # dropped, as a line does
                os.write(self.target, packet)


def _carry(one: int, other: int, link: Link) -> None:
    ways = {one: _Way(one, other, link), other: _Way(other, one, link)}
    poll = select.epoll()
    for descriptor in ways:
        poll.register(descriptor, select.EPOLLIN)
    while True:
        due = min((way.waiting[0][0] for way in ways.values() if way.waiting), default=None)
        left = -1 if due is None else max(0.0, due - time.monotonic())
        # epoll counts whole milliseconds, upwards; the last one is waited for by asking again.
        ready = poll.poll(left if left < 0 else max(0.0, left - 0.001))
        now = time.monotonic()
        for descriptor, _ in ready:
            ways[descriptor].read(now)
        for way in ways.values():
            way.write(now)
