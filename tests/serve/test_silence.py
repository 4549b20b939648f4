"""A run in all its ways, with every log, metric, trace and error collected: no plaintext in any.

What is looked for: words of the texts, the texts' true lengths where a bucket is told, the parties'
seeds, and pieces of the stocks' files.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from tests.serve.deployment import Deployment

from veilform.errors import VeilformError
from veilform.models.bert.sides import ServerSide
from veilform.observe import Event, everyone
from veilform.observe.logs import JsonFormatter
from veilform.observe.metrics import Metrics
from veilform.observe.traces import Traces
from veilform.pipeline import SecureClassifier
from veilform.roles import CLIENT, SERVER, Role
from veilform.serve import dealer as dealer_module
from veilform.serve.turns import Turns
from veilform.transport import Identity

WORDS = ("Zanzibar", "quetzalcoatl", "Ωmega", "kumquat")
TEXTS = [f"the {word} was not" for word in WORDS]


class Collected(logging.Handler):
    """Everything that the parties say, in every form that it could take."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []
        self.spans = InMemorySpanExporter()
        self.registry = CollectorRegistry()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tell = everyone(Metrics(self.registry), Traces(provider), self._event)

    def emit(self, record: logging.LogRecord) -> None:
        self.said += [JsonFormatter().format(record), logging.Formatter().format(record)]

    def _event(self, event: Event) -> None:
        self.said += [repr(event), str(event)]

    def error(self, error: BaseException) -> None:
        """As a program would print it, with the source lines but without the tests' own."""
        told = traceback.TracebackException.from_exception(error, capture_locals=False)
        self.said.append("".join(told.format()))

    def all(self) -> str:
        spans = [span.to_json() for span in self.spans.get_finished_spans()]
        return "\n".join([*self.said, *spans, generate_latest(self.registry).decode()])


@pytest.fixture
def collected() -> Iterator[Collected]:
    handler, root = Collected(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The seeds that the dealer draws."""
    drawn: list[bytes] = []
    genuine = dealer_module.prg.fresh_seed

    def fresh_seed() -> bytes:
        drawn.append(genuine())
        return drawn[-1]

    monkeypatch.setattr(dealer_module.prg, "fresh_seed", fresh_seed)
    return drawn


def failing(collected: Collected, act) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(VeilformError) as error:
        act()
    collected.error(error.value)


def test_nothing_is_said_of_a_text(
    deployment: Deployment,
    narrow_tiny: Path,
    party_identities: dict[Role, Identity],
    tmp_path: Path,
    collected: Collected,
    secrets: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment.server._tell = deployment.dealer._tell = collected.tell
    for service in (deployment.server_service, deployment.dealer_service):
        service._tell = collected.tell
    with SecureClassifier(deployment.client()) as classifier:
        answered = classifier(TEXTS)
        collected.said.append(repr(classifier.last_cost))
        failing(collected, lambda: classifier([TEXTS[0] * 40]))
        failing(collected, lambda: classifier([f"{WORDS[0]} \udcff"]))
        with monkeypatch.context() as patch:
            patch.setattr(deployment.server, "_turns", Turns(0, 0))
            failing(collected, lambda: classifier(TEXTS[:1]))
        with monkeypatch.context() as patch:
            patch.setattr(deployment.side, "program", broken)
            failing(collected, lambda: classifier(TEXTS[:1]))
    narrow = Deployment(
        ServerSide(narrow_tiny), deployment.public, party_identities, tmp_path / "narrow"
    )
    with contextlib.closing(narrow), SecureClassifier(narrow.client()) as classifier:
        failing(collected, lambda: classifier(TEXTS[:1]))
    everything = collected.all()
    assert len(answered) == len(TEXTS)
    for line in ("answered 1 input(s) padded", "ValueError at", "veilform_runs_total{", "padded"):
        assert line in everything, "the collection is not what it should be"
    for word in WORDS:
        assert word.lower() not in everything.lower()
        assert word.encode("unicode-escape").decode().lower() not in everything.lower()
    assert len(secrets) >= 2 * len(TEXTS)
    for seed in secrets:
        assert seed.hex() not in everything
        assert repr(seed)[2:-1] not in everything


def broken(*_: object) -> None:
    raise ValueError(f"a matter of {WORDS[1]}")


def test_names_of_files_hold_no_secret(deployment: Deployment, secrets: list[bytes]) -> None:
    with SecureClassifier(deployment.client()) as classifier:
        classifier(TEXTS)
    names = [
        p.name for role in (CLIENT, SERVER) for p in (deployment.folder / role.value).iterdir()
    ]
    for seed in secrets:
        assert not any(seed.hex() in name for name in names)
