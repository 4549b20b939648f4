"""A client as a session of a pool."""

from __future__ import annotations

from veilform.drive.network import Follow
from veilform.models.sides import Batch
from veilform.serve.client import Client, Prepared
from veilform.serve.sessions import Result


class ClientSession:
    """One connection to server and dealer; stocks come from a depot, or are dealt on demand."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def infer(
        self, batch: Batch, stock: Prepared | None, patience_s: float, follow: Follow
    ) -> Result:
        """As `Session` says; without a stock one is dealt first."""
        return self._client.infer(batch, patience_s, stock, follow)

    def close(self) -> None:
        """Ends both connections."""
        self._client.close()
