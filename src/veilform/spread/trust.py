"""Which Ray clusters may be used. What is spread is secret; whoever reaches Ray runs code in it.

Ray does not encrypt unless told to, and its ports are open on all of a machine's addresses. So
Veilform uses a cluster that it starts itself, on this machine, with a token of its own; or one
whose channels are TLS with certificates on both sides. With RAY_USE_TLS set, connecting proves
that: with a cluster without it, or of another authority, it fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from veilform.errors import InputError
from veilform.serve.address import parse

LOCAL = "local"
"""The address that means: start a cluster on this machine, for this command."""
_FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def check(address: str, environment: Mapping[str, str]) -> None:
    """Whether a cluster at ``address`` may be given secrets.

    Args:
        address: ``local``, or host:port of a cluster's head.

    Raises:
        InputError: it may not, or it is no such address.
    """
    if address == LOCAL:
        return
    if "://" in address:
        raise InputError(
            f"{address!r} is no address of a Ray cluster's head: give host:port, or {LOCAL!r}, "
            "which starts one here; Ray's own client protocol (ray://) is not used"
        )
    try:
        parse(address)
    except InputError as error:
        raise InputError(f"{error}; or give {LOCAL!r}, which starts a cluster here") from None
    if environment.get("RAY_USE_TLS", "").lower() not in ("1", "true"):
        raise InputError(
            f"the Ray cluster at {address} would get secrets over channels that are not encrypted: "
            "set RAY_USE_TLS=1 here and on every node, with RAY_TLS_SERVER_CERT, "
            "RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT (docs/deployment.md)"
        )
    for name in _FILES:
        if not Path(environment.get(name, "")).is_file():
            raise InputError(f"RAY_USE_TLS is set, and {name} names no file")
