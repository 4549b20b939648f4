"""The three parties, by name."""

from __future__ import annotations

import enum


class Role(enum.Enum):
    """Who runs: the client holds the input, the server the weights, the dealer neither."""

    CLIENT = "client"
    SERVER = "server"
    DEALER = "dealer"

    @property
    def command(self) -> str:
        """The command of ``veilform`` that runs this party."""
        return {Role.CLIENT: "gateway", Role.SERVER: "serve", Role.DEALER: "deal"}[self]

    @property
    def peer(self) -> Role:
        """The other computing party. The dealer has none.

        Raises:
            ValueError: for the dealer.
        """
        if self is Role.DEALER:
            raise ValueError("the dealer has no peer")
        return Role.SERVER if self is Role.CLIENT else Role.CLIENT


CLIENT, SERVER, DEALER = Role.CLIENT, Role.SERVER, Role.DEALER
