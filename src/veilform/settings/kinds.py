"""What each party can be told, as structs: a field is a key of the TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Union

import msgspec

Address = Annotated[str, msgspec.Meta(extra={"check": "address"})]
"""host:port."""
RayAddress = Annotated[str, msgspec.Meta(extra={"check": "ray"})]
"""``local``, or host:port of a cluster with TLS."""
Folder = Annotated[Path, msgspec.Meta(extra={"check": "folder"})]
"""A folder that must exist."""
Checkpoint = Annotated[str, msgspec.Meta(extra={"check": "checkpoint"})]
"""A checkpoint folder, or the name of a shipped student."""
Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
LinkName = Annotated[str, msgspec.Meta(pattern="^(loopback|lan|wan)$")]
Count = Annotated[int, msgspec.Meta(ge=1)]


class PartySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every party can be told.

    Attributes:
        certificates: the party's folder of `veilform keys`.
        link: a link that shapes what this party sends, to measure; ``loopback`` does not.
        metrics: where Prometheus finds metrics; nowhere if left out.
        traces: send OpenTelemetry spans to where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says.
        log_format: ``text``, or ``json`` with one object a line.
        patience_s: at the end, how long requests in work are let go on.
        flags: what the command line calls a key, where that is not the key itself.
    """

    flags: ClassVar[dict[str, str]] = {"patience_s": "--patience"}

    certificates: Folder
    link: LinkName = "loopback"
    metrics: Union[Address, None] = None  # noqa: UP007 - an Annotated type takes no | in 3.10
    traces: bool = False
    log_format: Annotated[str, msgspec.Meta(pattern="^(text|json)$")] = "text"
    patience_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0


class DealSettings(PartySettings, frozen=True, kw_only=True):
    """The dealer's.

    Attributes:
        listen: where server and clients connect.
        ray: a Ray cluster for the computing: ``local`` or host:port; none if left out.
        workers: stocks that it deals at a time; 0: as many as it has processors.
    """

    listen: Address = "127.0.0.1:7002"
    ray: Union[RayAddress, None] = None  # noqa: UP007
    workers: Annotated[int, msgspec.Meta(ge=0)] = 0


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a server offers, a table ``[[model]]``.

    Attributes:
        name: what it is called; if empty, the last part of ``path``.
        private_embedding: look words up under secure computation too.
    """

    path: Checkpoint
    name: Union[Name, None] = None  # noqa: UP007 - an Annotated type takes no | in Python 3.10
    version: Name = "1"
    private_embedding: bool = False

    @property
    def called(self) -> str:
        """Its name, given or taken from its path."""
        return self.name or Path(self.path).name


class ServeSettings(PartySettings, frozen=True, kw_only=True):
    """The server's.

    Attributes:
        dealer: where the dealer listens.
        stock: a folder for this server's stock; made if missing.
        model: what is offered; each pair of name and version once.
        publish: where to write the folder that clients need; of several models, one in each of
            its folders ``name/version``.
        workers: processes that serve, at one address and with one stock folder. Each holds the
            models; the metrics of each are a port further.
    """

    flags: ClassVar[dict[str, str]] = {**PartySettings.flags, "model": "MODEL"}

    dealer: Address
    stock: Path
    model: tuple[ModelSettings, ...]
    listen: Address = "127.0.0.1:7001"
    publish: Path | None = None
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1

    def published(self, model: ModelSettings) -> Path | None:
        """Where this model's public folder goes, if anywhere."""
        if self.publish is None or len(self.model) == 1:
            return self.publish
        return self.publish / model.called / model.version


class PublicModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a gateway answers with; ``path`` is the folder of `veilform export`."""

    path: Folder
    name: Union[Name, None] = None  # noqa: UP007
    version: Name = "1"

    @property
    def called(self) -> str:
        """Its name, given or taken from its path."""
        return self.name or self.path.name


class LevelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Stock to keep ready: ``count`` runs of ``batch`` texts padded to ``length`` tokens."""

    length: Count
    batch: Count = 1
    count: Count = 4


class GatewaySettings(PartySettings, frozen=True, kw_only=True):
    """The gateway's, which holds texts: it listens on this machine only unless told otherwise.

    Attributes:
        server, dealer: where they listen.
        stock: a folder for this client's stock; made if missing.
        model: what is answered with; each pair of name and version once.
        ready: runs of one text, of each length of each model, for which stock is kept ready.
        level: stock that is kept ready besides, or instead where it is of one text.
        sessions: connections to the server, hence runs at a time.
        queue: texts that may wait, of each model.
        batch: most texts in one run, when they wait anyhow. The server sees how many; one text out
            of range leaves all of a run without an answer.
        allow_remote: listen at an address that other machines reach; needs a token.
        host_names: by which the gateway may be addressed, besides this machine's own.
        token_file: a file with the token that callers must send.
    """

    flags: ClassVar[dict[str, str]] = {
        **PartySettings.flags, "model": "--public", "host_names": "--host-name",
    }  # fmt: skip

    server: Address
    dealer: Address
    stock: Path
    model: tuple[PublicModelSettings, ...]
    listen: Address = "127.0.0.1:8080"
    ready: Annotated[int, msgspec.Meta(ge=0)] = 1
    level: tuple[LevelSettings, ...] = ()
    sessions: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    queue: Count = 64
    batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    allow_remote: bool = False
    host_names: tuple[str, ...] = ()
    token_file: Path | None = None


Settings = Union[DealSettings, ServeSettings, GatewaySettings]  # noqa: UP007
KINDS: dict[str, type[Settings]] = {
    "deal": DealSettings,
    "serve": ServeSettings,
    "gateway": GatewaySettings,
}
