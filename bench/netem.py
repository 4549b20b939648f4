"""Inference over slower links: shaped inside the transport, and over a real shaped network.

    python bench/netem.py                                  a table
    python bench/netem.py --json bench/results/netem.json  and the figures as JSON

The network needs root on Linux, and iproute2. It is two network namespaces, the client in one,
server and dealer in the other, and between them a veth pair with netem for delay and bandwidth; if
the kernel has no netem, two TUN devices and a process that delays packets (bench/relay.py). It says
which, and what was refused; where none of it can be had, only the transport's shaping is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import relay
from rich.console import Console
from rich.status import Status
from rich.table import Table

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.plan.presets import ModelShape, preset
from veilform.transport.links import LOOPBACK, PRESETS, Link, named

PARTIES, CLIENT = "veilform-parties", "veilform-client"
PARTIES_AT, CLIENT_AT = "10.77.0.1", "10.77.0.2"
SHOWN = ("online_seconds", "best_online_seconds", "offline_seconds", "messages")

KNOCK = f"""
import socket, time
best = 9.0
for _ in range(5):
    start = time.perf_counter()
    socket.socket().connect_ex(("{PARTIES_AT}", 9))
    best = min(best, time.perf_counter() - start)
print(best)
"""


class Refused(Exception):
    """What the system would not do: the command and its answer."""


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def within(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    try:
        for name in (PARTIES, CLIENT):
            sh("ip", "netns", "add", name)
            sh(*within(name), "ip", "link", "set", "lo", "up")
        yield
    finally:
        for name in (PARTIES, CLIENT):
            with contextlib.suppress(Refused):
                sh("ip", "netns", "del", name)


@contextlib.contextmanager
def by_netem(link: Link) -> Iterator[None]:
    """A veth pair with netem at both ends."""
    sh("ip", "link", "add", "vf-p", "type", "veth", "peer", "name", "vf-c")
    try:
        delay = f"{link.round_trip_s / 2 * 1e6:.0f}us"
        rate = f"{link.bandwidth_bits_per_s / 1e6:.0f}mbit"
        for name, end, address in ends("vf-p", "vf-c"):
            shape = ("netem", "limit", "100000", "delay", delay, "rate", rate)
            sh("tc", "qdisc", "add", "dev", end, "root", *shape)
            bring_up(name, end, address)
            # It is lost on the way into the namespace.
            sh(*within(name), "tc", "qdisc", "replace", "dev", end, "root", *shape)
        yield
    finally:
        for command in (["ip"], [*within(PARTIES), "ip"]):
            with contextlib.suppress(Refused):
                sh(*command, "link", "del", "vf-p")


@contextlib.contextmanager
def by_relay(link: Link) -> Iterator[None]:
    """Two TUN devices and a process between them."""
    try:
        devices = [relay.open_tun(name) for name in ("vf-p", "vf-c")]
    except OSError as error:
        raise Refused(f"/dev/net/tun: {error}") from error
    try:
        for name, end, address in ends("vf-p", "vf-c"):
            bring_up(name, end, address)
            sh(*within(name), "ip", "link", "set", end, "mtu", str(relay.MTU))
        carrier = relay.start(*devices, link)
        try:
            yield
        finally:
            carrier.terminate()
            carrier.join()
    finally:
        for device in devices:
            os.close(device)


def ends(parties: str, client: str) -> tuple[tuple[str, str, str], ...]:
    return (PARTIES, parties, PARTIES_AT), (CLIENT, client, CLIENT_AT)


def bring_up(namespace: str, device: str, address: str) -> None:
    sh("ip", "link", "set", device, "netns", namespace)
    sh(*within(namespace), "ip", "address", "add", f"{address}/24", "dev", device)
    sh(*within(namespace), "ip", "link", "set", device, "up")


def round_trip_ms() -> float:
    """Of a connection that is refused at once: nobody listens at that port."""
    return round(1e3 * float(sh(*within(CLIENT), sys.executable, "-c", KNOCK)), 2)


def over_network(
    name: str, shape: ModelShape, options: argparse.Namespace, status: Status, refused: list[str]
) -> dict[str, Any] | None:
    """Figures over a real shaped network, made in the first way that the system allows."""
    link = named(name)
    setting = Setting(
        shape, options.seq, runs=options.runs, host=PARTIES_AT,
        parties_within=within(PARTIES), client_within=within(CLIENT),
    )  # fmt: skip
    for way, make in (("netem", by_netem), ("relay", by_relay)):
        try:
            with namespaces(), make(link):
                round_trip = round_trip_ms()
                figures = measure(setting, progress=lambda t: status.update(f"network: {t}"))
                return {"by": way, "round_trip_ms": round_trip} | {k: figures[k] for k in SHOWN}
        except Refused as refusal:
            refused.append(str(refusal))
    return None


def compare(name: str, options: argparse.Namespace, status: Status) -> dict[str, Any]:
    """One link: over the network, and inside the transport."""
    shape, link = preset(options.shape), named(name)
    refused = [problem()] if problem() else []
    network = None
    if link != LOOPBACK and not refused:
        network = over_network(name, shape, options, status, refused)
    setting = Setting(shape, options.seq, link=name, runs=options.runs)
    figures = measure(setting, progress=lambda t: status.update(f"{name}, in the transport: {t}"))
    del figures["machine"]
    sent = figures["bytes_client_to_server"] + figures["bytes_server_to_client"]
    least = figures["messages"] * link.round_trip_s / 2 + 8 * sent / link.bandwidth_bits_per_s
    return {
        "link": name,
        "least_seconds": round(least, 4),
        "transport": figures,
        "network": network,
        "refused": refused,
    }


def problem() -> str:
    """Why this cannot run here, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs Linux, and root"
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"it needs iproute2, and there is no {' and no '.join(missing)}" if missing else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", default="minilm-l6")
    parser.add_argument("--seq", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5, help="timed runs (default 5)")
    parser.add_argument("--links", nargs="+", default=list(PRESETS))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with Console(stderr=True).status("") as status:
        rows = [compare(name, options, status) for name in options.links]
    table = Table("link", "at least s", "in the transport s", "network s", "network by")
    for row in rows:
        network = row["network"]
        table.add_row(
            row["link"], f"{row['least_seconds']:.3f}",
            f"{row['transport']['online_seconds']:.3f}",
            f"{network['online_seconds']:.3f}" if network else "",
            f"{network['by']}, {network['round_trip_ms']} ms" if network else "",
        )  # fmt: skip
    Console().print(table)
    for refused in dict.fromkeys(each for row in rows for each in row["refused"]):
        print(f"refused: {refused}")
    if options.json:
        figures = {
            "shape": options.shape, "seq": options.seq, "runs": options.runs, "links": rows,
        }  # fmt: skip
        machine.save(options.json, "python " + " ".join(sys.argv), figures)


if __name__ == "__main__":
    main()
