"""Certificates of a deployment: see `veilform.keys.authority`."""

from __future__ import annotations

from veilform.keys.authority import AUTHORITY_DAYS, PARTY_DAYS, Keys, new_request
from veilform.keys.ledger import Entry, Ledger

__all__ = ["AUTHORITY_DAYS", "PARTY_DAYS", "Entry", "Keys", "Ledger", "new_request"]
