"""A transfer much larger than memory should be: both ends hold a few MiB of it."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from veilform.roles import CLIENT, DEALER
from veilform.transport import Settings, channel_pair
from veilform.transport.bulk import BULK_CHUNK_BYTES

TOTAL = 64 * 2**20


class Digest:
    """A sink that keeps a hash and a count."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b()
        self.count = 0

    def write(self, view: memoryview) -> int:
        self.hash.update(view)
        self.count += len(view)
        return len(view)


def parts() -> Iterator[bytes]:
    """64 MiB in parts that do not line up with frames."""
    size = 700_001
    for start in range(0, TOTAL, size):
        yield bytes([start % 251]) * min(size, TOTAL - start)


def test_64_mib_pass_through_a_few() -> None:
    expected = hashlib.blake2b()
    for part in parts():
        expected.update(part)

    dealer, client = channel_pair(DEALER, CLIENT, Settings(queue_bytes=2 * BULK_CHUNK_BYTES))
    sink: Any = Digest()
    tracemalloc.start()
    with dealer, client:
        sender = threading.Thread(target=dealer.send_bulk, args=(parts(), TOTAL))
        sender.start()
        assert client.receive_bulk_into(cast(BinaryIO, sink), TOTAL) == TOTAL
        sender.join()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sink.count == TOTAL
    assert sink.hash.digest() == expected.digest()
    assert peak < 12 * 2**20
