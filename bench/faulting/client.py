"""A direct client as a process: a text a line comes in, its label or its error's class goes out.

    python client.py PUBLIC CERTIFICATES STOCK SERVER DEALER

Its stocks outlive it. What breaks its connections costs one request; the next one connects again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from veilform.correlation.store import StockStore
from veilform.errors import InputError, Overloaded, VeilformError
from veilform.models.answers import CLASSIFICATION
from veilform.models.bert.sides import ClientSide
from veilform.observe import Event, Run
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.address import parse
from veilform.serve.client import Client
from veilform.serve.local import READY
from veilform.transport import Identity, connect

PATIENCE_S = 5.0


def answers(open_client: Callable[[], Client], side: ClientSide, stocks: list[str]) -> None:
    """Answers each line with one of JSON."""
    encoder, client = side.public.encoder, None
    for line in sys.stdin:
        answer: dict[str, str | None] = {"label": None, "error": None}
        try:
            client = client or open_client()
            batch = encoder.pad(encoder.encode([json.loads(line)]))
            logits, _ = client.infer(batch, PATIENCE_S)
            answer["label"] = str(CLASSIFICATION.answer(logits[0], side.config)["label"])
        except VeilformError as error:
            answer["error"] = type(error).__name__
            if client is not None and not isinstance(error, InputError | Overloaded):
                client.close()
                client = None
        print(json.dumps(answer | {"stock": stocks.pop() if stocks else None}), flush=True)


def main() -> None:
    public, certificates, stock = map(Path, sys.argv[1:4])
    server, dealer = map(parse, sys.argv[4:])
    side, store, stocks = ClientSide(public), StockStore(stock, CLIENT), []

    def note(event: Event) -> None:
        if isinstance(event, Run):
            stocks[:] = [event.stock]

    def open_client() -> Client:
        identity = Identity.load(certificates, CLIENT)
        return Client(
            side, store, lambda: connect(*server, identity, SERVER),
            lambda: connect(*dealer, identity, DEALER), note,
        )  # fmt: skip

    print(f"{READY}standard input", flush=True)
    answers(open_client, side, stocks)


if __name__ == "__main__":
    main()
