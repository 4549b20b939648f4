"""Whether a party could start as it is configured: every part is tried, nothing is left behind."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from veilform.correlation.store import StockStore, new_id
from veilform.errors import ConnectionFailed, InputError, VeilformError
from veilform.models import families
from veilform.models.checkpoint import resolve
from veilform.roles import CLIENT, DEALER, SERVER, Role
from veilform.serve import messages as say
from veilform.serve.address import following, parse
from veilform.settings.kinds import DealSettings, GatewaySettings, ServeSettings, Settings
from veilform.settings.loading import SettingsError, load
from veilform.spread.cluster import installed
from veilform.transport import Channel, Identity, connect
from veilform.transport.handshake import system_reason

LEAST_FREE_BYTES = 1 << 30
_ROLES: dict[type[Settings], Role] = {
    DealSettings: DEALER,
    ServeSettings: SERVER,
    GatewaySettings: CLIENT,
}
State = Literal["right", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked. ``text`` says what is right, or what is wrong and what to do."""

    what: str
    state: State
    text: str


def check(
    kind: type[Settings],
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    reach: bool = False,
) -> Iterator[Finding]:
    """Everything that a party needs, as it is found.

    Args:
        reach: connect to the other parties as well, as this one.
    """
    try:
        settings = load(kind, file, environment, flags)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("settings", "wrong", problem)
        return
    yield Finding("settings", "right", str(file) if file else "flags and environment")
    role = _ROLES[kind]
    yield from _certificates(settings, role)
    yield _tried("port", lambda: _port(settings.listen))
    if settings.metrics is not None:
        first = settings.metrics
        for number in range(settings.workers if isinstance(settings, ServeSettings) else 1):
            yield _tried("metrics port", lambda n=number: _port(following(first, n)))  # type: ignore[misc]
    if isinstance(settings, DealSettings) and settings.ray:
        yield _tried("ray", installed)
    if not isinstance(settings, DealSettings):
        yield from _stock(settings.stock, role)
    if isinstance(settings, ServeSettings):
        for model in settings.model:
            what = f"model {model.called} {model.version}"
            yield _tried(what, lambda m=model: _served(m.path, m.private_embedding))  # type: ignore[misc]
    if isinstance(settings, GatewaySettings):
        for public in settings.model:
            what = f"model {public.called} {public.version}"
            yield _tried(what, lambda m=public: _held(m.path))  # type: ignore[misc]
    if reach:
        yield from _reached(settings, role)


def _tried(what: str, act: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "right", act())
    except VeilformError as error:
        return Finding(what, "wrong", str(error))


def _certificates(settings: Settings, role: Role) -> Iterator[Finding]:
    def load_it() -> str:
        identity = Identity.load(settings.certificates, role)
        return f"a {role.value}'s, valid until {identity.ends():%Y-%m-%d}"

    found = _tried("certificates", load_it)
    yield found
    if found.state == "right":
        warning = Identity.load(settings.certificates, role).warning()
        if warning:
            yield Finding("certificates", "warning", warning)


def _port(listen: str) -> str:
    host, port = parse(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            return f"{listen} is free"
    except OSError as error:
        raise ConnectionFailed(
            f"cannot listen at {listen}: {system_reason(error)}; "
            "stop what uses it, or choose another address"
        ) from None


def _stock(folder: Path, role: Role) -> Iterator[Finding]:
    """The folder itself is left to the party to make."""

    def usable() -> str:
        if folder.exists():
            StockStore(folder, role)
        elif not os.access(_above(folder), os.W_OK | os.X_OK):
            raise InputError(f"{folder} cannot be made: {_above(folder)} is not writable")
        return f"{folder} is usable" if folder.exists() else f"{folder} will be made"

    yield _tried("stock folder", usable)
    free = shutil.disk_usage(_above(folder)).free
    state: State = "right" if free >= LEAST_FREE_BYTES else "warning"
    advice = "" if state == "right" else "; stocks are large: make room, or choose another disk"
    yield Finding("stock disk", state, f"{free / 1e9:.1f} GB free{advice}")


def _above(folder: Path) -> Path:
    """The folder, or what it would be made in."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def _served(path: str, private_embedding: bool) -> str:
    side = families.server_side(resolve(path), private_embedding)
    return f"{path}: servable, {side.takes}"


def _held(path: Path) -> str:
    return f"{path}: {families.client_side(path).takes}"


def _reached(settings: Settings, role: Role) -> Iterator[Finding]:
    if isinstance(settings, DealSettings):
        return  # the others come to the dealer
    others = {DEALER: settings.dealer}
    if isinstance(settings, GatewaySettings):
        others[SERVER] = settings.server

    def reach(peer: Role) -> Channel:
        return connect(*parse(others[peer]), Identity.load(settings.certificates, role), peer)

    for peer, address in others.items():

        def greet(peer: Role = peer, address: str = address) -> str:
            with reach(peer):
                return f"reached at {address}"

        yield _tried(f"the {peer.value}", greet)
    if isinstance(settings, GatewaySettings):
        for model in settings.model:

            def ask(path: Path = model.path) -> str:
                digest = families.client_side(path).model
                with reach(SERVER) as channel:
                    channel.send_control(say.Hello(say.PROTOCOL, digest, new_id()))
                    channel.receive_control(say.Welcome)
                    return "served there"

            yield _tried(f"model {model.called} {model.version} at the server", ask)
