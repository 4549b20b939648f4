"""Who asks all the time: threads that call the gateway, and one that asks the direct client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from faulting.parties import Party
from veilform.gateway.client import GatewayClassifier, GatewayError

THROUGH, DIRECT = "gateway", "direct"
GONE, HUNG = "gateway gone", "nothing in time"
KILLED = "client killed"
"""The codes of who got no answer at all."""
PAUSE_S = 0.1
"""After an error."""


class Asked(NamedTuple):
    """One request: which way, when it began and ended, and its label or the code of its error.

    The code is the gateway's word, or the class that the direct client raised. The stock is what
    the direct client ran with.
    """

    way: str
    text: int
    began: float
    ended: float
    label: str | None
    code: str | None
    stock: str | None = None


Answer = tuple[str | None, str | None, str | None]
"""A label or a code, and a stock."""


class Askers:
    """Ask one text after another, and write down what they get, until `close`."""

    def __init__(
        self, url: str, client: Party, texts: list[str], deadline_s: float, grace_s: float,
        callers: int,
    ) -> None:  # fmt: skip
        self.asked: list[Asked] = []
        self._texts, self._ending = texts, threading.Event()
        gateway = GatewayClassifier(url, timeout_s=deadline_s)
        ways = [(THROUGH, lambda text: _through(gateway, text))] * callers
        ways.append((DIRECT, lambda text: _directly(client, text, deadline_s + grace_s)))
        self._threads = [
            threading.Thread(target=self._go, args=(number, len(ways), way, ask))
            for number, (way, ask) in enumerate(ways)
        ]
        for thread in self._threads:
            thread.start()

    def answered_since(self, moment: float) -> bool:
        """Whether both ways have answered a request that began after this moment."""
        ways = {one.way for one in self.asked[-200:] if one.began > moment and one.label}
        return ways == {THROUGH, DIRECT}

    def close(self) -> None:
        """Waits for what is under way."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _go(self, number: int, step: int, way: str, ask: Callable[[str], Answer]) -> None:
        text = number
        while not self._ending.is_set():
            began = time.monotonic()
            label, code, stock = ask(self._texts[text])
            self.asked.append(Asked(way, text, began, time.monotonic(), label, code, stock))
            text = (text + step) % len(self._texts)
            if code:
                self._ending.wait(PAUSE_S)


def _through(gateway: GatewayClassifier, text: str) -> Answer:
    try:
        return str(gateway(text)[0]["label"]), None, None
    except GatewayError as error:
        return None, error.code if error.status else GONE, None


def _directly(client: Party, text: str, timeout_s: float) -> Answer:
    try:
        line = client.ask(json.dumps(text), timeout_s)
    except TimeoutError:
        client.kill()  # its answers would be taken for others
        client.start()
        return None, HUNG, None
    if line is None:
        return None, KILLED, None
    answer = json.loads(line)
    return answer["label"], answer["error"], answer["stock"]
