"""Inference over a real shaped network, beside the shaping inside the transport.

    python bench/netem.py                                  a table
    python bench/netem.py --json bench/results/netem.json  and the figures as JSON

Needs root on Linux, with iproute2: it makes two network namespaces, the client in one, server and
dealer in the other. Between them is a veth pair with netem for delay and bandwidth; if the kernel
has no netem, two TUN devices and a process that delays packets (bench/relay.py). It says which,
and what was refused. Where none of it can be had it says so, and ends without an error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import relay
from rich.console import Console
from rich.table import Table

from veilform.bench import machine
from veilform.bench.inference import Setting, measure
from veilform.bench.presets import preset
from veilform.transport.links import Link, named

PARTIES, CLIENT = "veilform-parties", "veilform-client"
PARTIES_AT, CLIENT_AT = "10.77.0.1", "10.77.0.2"
SHOWN = ("online_seconds", "online_seconds_range", "offline_seconds", "messages")
BYTES = ("bytes_client_to_server", "bytes_server_to_client")

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


def compare(name: str, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """One link: over the network, and inside the transport."""
    shape, link = preset(options.shape), named(name)
    row: dict[str, Any] = {"link": name, "refused": []}
    with console.status("") as status, namespaces():
        for way, make in (("netem", by_netem), ("relay", by_relay)):
            try:
                with make(link):
                    row["round_trip_ms"] = round_trip_ms()
                    setting = Setting(
                        shape, options.seq, runs=options.runs, host=PARTIES_AT,
                        parties_within=within(PARTIES), client_within=within(CLIENT),
                    )  # fmt: skip
                    figures = measure(
                        setting, progress=lambda t: status.update(f"{name}, network: {t}")
                    )
                row["network"] = {"by": way, **{key: figures[key] for key in SHOWN}}
                break
            except Refused as refusal:
                row["refused"].append(str(refusal))
    if "network" not in row:
        raise Refused("; ".join(row["refused"]))
    with console.status("") as status:
        setting = Setting(shape, options.seq, link=name, runs=options.runs)
        figures = measure(setting, progress=lambda t: status.update(f"{name}, transport: {t}"))
        row["transport"] = {key: figures[key] for key in SHOWN}
        setting = Setting(shape, options.seq, runs=options.runs)
        status.update(f"{name}: without a link")
        row["loopback_online_seconds"] = measure(setting)["online_seconds"]
    sent = sum(figures[key] for key in BYTES)
    row["least_seconds"] = round(
        figures["messages"] * link.round_trip_s / 2 + 8 * sent / link.bandwidth_bits_per_s, 4
    )
    ratio = row["network"]["online_seconds"] / row["transport"]["online_seconds"]
    row["network_over_transport"] = round(ratio, 3)
    return row


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
    parser.add_argument("--links", nargs="+", default=["lan", "wan"])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        if problem():
            raise Refused(problem())
        rows = [compare(name, options, console) for name in options.links]
    except Refused as refusal:
        print(f"skipped: {refusal}")
        return
    table = Table("link", "by", "round trip ms", "network s", "transport s", "ratio", "at least s")
    for row in rows:
        table.add_row(
            row["link"], row["network"]["by"], str(row["round_trip_ms"]),
            f"{row['network']['online_seconds']:.3f}", f"{row['transport']['online_seconds']:.3f}",
            f"{row['network_over_transport']:.2f}", f"{row['least_seconds']:.3f}",
        )  # fmt: skip
        for refused in row["refused"]:
            print(f"{row['link']}: refused: {refused}")
    Console().print(table)
    if options.json:
        document = {
            "command": "python " + " ".join(sys.argv),
            "machine": machine.describe(),
            "shape": options.shape,
            "seq": options.seq,
            "runs": options.runs,
            "links": rows,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
