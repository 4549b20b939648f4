"""A shaped link delivers no byte before its time, and does not add up what overlaps."""

from __future__ import annotations

import time

import pytest

from veilform.errors import ConnectionFailed
from veilform.roles import CLIENT, SERVER
from veilform.transport import LAN, LOOPBACK, WAN, Link, Settings, channel_pair, stream_pair
from veilform.transport.links import PRESETS, ShapedStream, Timetable, shaped


def test_presets() -> None:
    assert (LAN.bandwidth_bits_per_s, LAN.round_trip_s) == (1e9, 1e-3)
    assert (WAN.bandwidth_bits_per_s, WAN.round_trip_s) == (2e8, 40e-3)
    assert PRESETS == {"loopback": LOOPBACK, "lan": LAN, "wan": WAN}


@pytest.mark.parametrize("values", [(0, 0), (-1.0, 0), (1.0, -1)])
def test_an_impossible_link(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="positive bandwidth"):
        Link(*values)


def test_loopback_adds_nothing() -> None:
    stream, _ = stream_pair()
    assert shaped(stream, None) is stream
    assert shaped(stream, LOOPBACK) is stream
    slow = shaped(stream, LAN)
    assert isinstance(slow, ShapedStream)
    slow.close()


def test_the_timetable_has_no_gaps() -> None:
    """A megabyte a second, 20 ms each way: what is handed over in time arrives without a pause."""
    table = Timetable(Link(8e6, 0.04))
    arrivals = [table.arrival(0.001 * n, 10_000) for n in range(5)]
    assert arrivals == pytest.approx([0.03, 0.04, 0.05, 0.06, 0.07])
    assert table.arrival(1.0, 1000) == pytest.approx(1.021)  # the link was idle
    assert table.arrival(1.0, 0) == pytest.approx(1.021)


def test_sending_does_not_wait_for_the_link() -> None:
    """A pause after each segment would add a thread's late waking to each."""
    ours, theirs = stream_pair()
    stream = shaped(ours, Link(8e7, 0.0))  # 10 MB/s
    start = time.monotonic()
    stream.send_all([memoryview(bytes(5_000_000))], 5.0)
    assert time.monotonic() - start < 0.25
    theirs.close()
    stream.close()


def test_a_part_arrives_before_the_whole() -> None:
    client, server = channel_pair(CLIENT, SERVER, link=Link(8e6, 0.0))  # 1 MB/s
    with client, server:
        start = time.monotonic()
        message = client.begin_data(220_000)
        message.write(bytes(20_000))
        message.write(bytes(200_000))
        coming = server.open_data(220_000)
        coming.read(20_000)
        assert 0.02 <= time.monotonic() - start < 0.2
        coming.read(200_000)
        assert time.monotonic() - start >= 0.22


def test_bandwidth_and_round_trip_are_at_least_kept() -> None:
    link = Link(8e6, 0.04)  # 1 MB/s
    client, server = channel_pair(CLIENT, SERVER, link=link)
    with client, server:
        start = time.monotonic()
        client.send_data([bytes(50_000 - 16)])
        returned = time.monotonic() - start
        server.receive_data(50_000)
        there = time.monotonic() - start
        server.send_data([b"x"])
        client.receive_data(1)
        back = time.monotonic() - start
    assert returned < 0.02  # sending overlaps with computing
    assert 0.07 <= there < 0.5
    assert back >= 0.09


def test_messages_follow_each_other_while_earlier_ones_travel() -> None:
    link = Link(1e9, 0.1)
    client, server = channel_pair(CLIENT, SERVER, link=link)
    with client, server:
        start = time.monotonic()
        for _ in range(20):
            client.send_data([bytes(100)])
        for _ in range(20):
            server.receive_data(100)
        assert 0.05 <= time.monotonic() - start < 0.5  # not 20 times 0.05


def test_closing_delivers_what_is_under_way() -> None:
    client, server = channel_pair(CLIENT, SERVER, link=Link(1e9, 0.1))
    client.send_data([b"last"])
    client.close()
    assert server.receive_data(4) == b"last"
    server.close()


def test_a_dead_peer_surfaces_through_the_link() -> None:
    client, server = channel_pair(CLIENT, SERVER, Settings(timeout_s=5), Link(1e9, 0.0))
    server.close()
    with client, pytest.raises(ConnectionFailed):
        send_until_it_fails(client)


def send_until_it_fails(channel: object) -> None:
    for _ in range(1000):
        channel.send_data([bytes(10)])  # type: ignore[attr-defined]
        channel.flush()  # type: ignore[attr-defined]
        time.sleep(0.001)  # a link takes bytes before it finds that nobody is there
