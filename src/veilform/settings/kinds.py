"""What each party can be told, as structs: a field is a key of the TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Union

import msgspec

Address = Annotated[str, msgspec.Meta(extra={"check": "address"})]
"""host:port."""
Folder = Annotated[Path, msgspec.Meta(extra={"check": "folder"})]
"""A folder that must exist."""
Checkpoint = Annotated[str, msgspec.Meta(extra={"check": "checkpoint"})]
"""A checkpoint folder, or the name of a shipped student."""
Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
LinkName = Annotated[str, msgspec.Meta(pattern="^(loopback|lan|wan)$")]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class DealSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The dealer's.

    Attributes:
        certificates: the dealer's folder of `veilform keys`.
        listen: where server and clients connect.
        link: a link that shapes what this party sends, to measure; ``loopback`` does not.
    """

    certificates: Folder
    listen: Address = "127.0.0.1:7002"
    link: LinkName = "loopback"


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


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The server's.

    Attributes:
        certificates: the server's folder of `veilform keys`.
        dealer: where the dealer listens.
        stock: a folder for this server's stock; made if missing.
        model: what is offered; each pair of name and version once.
        publish: where to write the folder that clients need; of several models, one in each of
            its folders ``name/version``.
    """

    certificates: Folder
    dealer: Address
    stock: Path
    model: tuple[ModelSettings, ...]
    listen: Address = "127.0.0.1:7001"
    publish: Path | None = None
    link: LinkName = "loopback"

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


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's, which holds texts: it listens on this machine only unless told otherwise.

    Attributes:
        certificates: a client's folder of `veilform keys`.
        server, dealer: where they listen.
        stock: a folder for this client's stock; made if missing.
        model: what is answered with; each pair of name and version once.
        level: stock that is kept ready, of each model.
        sessions: connections to the server, hence runs at a time.
        queue: requests that may wait.
        deadline_s: the longest that a request waits, unless it says less.
    """

    certificates: Folder
    server: Address
    dealer: Address
    stock: Path
    model: tuple[PublicModelSettings, ...]
    listen: Address = "127.0.0.1:8080"
    level: tuple[LevelSettings, ...] = ()
    sessions: Count = 2
    queue: Count = 64
    deadline_s: Seconds = 30.0
    link: LinkName = "loopback"


Settings = Union[DealSettings, ServeSettings, GatewaySettings]  # noqa: UP007
KINDS: dict[str, type[Settings]] = {
    "deal": DealSettings,
    "serve": ServeSettings,
    "gateway": GatewaySettings,
}
