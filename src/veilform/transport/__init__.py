"""Channels between the parties: framed, bounded, counted, and mutually authenticated.

    channel = tls.connect("dealer.example", 7001, Identity.load(folder, CLIENT), DEALER)
    with channel:
        channel.send_control(Request(...))
        stock = channel.receive_bulk(expected)

Start reading at `channel`, then `frames`; ``docs/wire-format.md`` describes the bytes.
"""

from veilform.transport.certificates import create_deployment
from veilform.transport.channel import Channel
from veilform.transport.control import Control
from veilform.transport.counters import Counters, Direction, Tally, Traffic
from veilform.transport.frames import HEADER_BYTES, Kind
from veilform.transport.identity import Identity
from veilform.transport.inbound import PeerError, PeerLeft
from veilform.transport.links import LAN, LOOPBACK, WAN, Link
from veilform.transport.loopback import channel_pair, stream_pair
from veilform.transport.settings import Settings
from veilform.transport.streams import Stream
from veilform.transport.tls import Listener, connect

__all__ = [
    "HEADER_BYTES",
    "LAN",
    "LOOPBACK",
    "WAN",
    "Channel",
    "Control",
    "Counters",
    "Direction",
    "Identity",
    "Kind",
    "Link",
    "Listener",
    "PeerError",
    "PeerLeft",
    "Settings",
    "Stream",
    "Tally",
    "Traffic",
    "channel_pair",
    "connect",
    "create_deployment",
    "stream_pair",
]
