"""What an operator sees: counts and times of bounded kinds, and no content at all."""

from __future__ import annotations

import json
import logging
import typing
import urllib.request

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from veilform import errors
from veilform.observe import (
    Connected,
    Dealt,
    Event,
    Kept,
    Outcome,
    Queued,
    Run,
    everyone,
    ignore,
    outcome_of,
)
from veilform.observe.logs import JsonFormatter
from veilform.observe.metrics import Exporter, Metrics

RUN = Run(
    party="server",
    model="0123456789ab",
    batch=2,
    bucket=32,
    stock="0123456789abcdef" * 2,
    outcome="done",
    seconds=0.25,
    sent_bytes=1000,
    received_bytes=3000,
    waited_seconds=0.5,
    messages=12,
)


def kinds(kind: type[Event] = Event) -> list[type[Event]]:
    return [kind, *(below for each in kind.__subclasses__() for below in kinds(each))]


@pytest.mark.parametrize("kind", kinds())
def test_an_event_has_no_room_for_content(kind: type[Event]) -> None:
    """Numbers, and names from short lists: a text, a value or a seed has no field to be in."""
    names = {"party", "role", "model", "stock", "why"}
    for field in msgspec.structs.fields(kind):
        assert field.type in (int, float, Outcome) or field.name in names, field.name


def test_every_error_has_an_outcome() -> None:
    known = {
        outcome_of(kind("") if kind is not errors.StockLow else kind("", 1.0))
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.VeilformError)
    }
    assert known | {"done"} == set(typing.get_args(Outcome))
    assert outcome_of(None) == "done"
    assert outcome_of(MemoryError()) == "failed"


def test_metrics() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics(RUN)
    metrics(msgspec.structs.replace(RUN, outcome="busy", seconds=9.0))
    metrics(Connected(party="server", role="client", count=3))
    metrics(Dealt(party="dealer", stock=RUN.stock, outcome="lost", seconds=1.0, dealt_bytes=70))
    metrics(Queued(party="client", model="0123456789ab", waiting=5, running=2, sessions=1))
    metrics(Kept(party="client", model="0123456789ab", batch=1, bucket=16, ready=3, wanted=4))
    sizes = {"party": "server", "model": "0123456789ab", "batch": "2", "bucket": "32"}
    for outcome in ("done", "busy"):
        assert registry.get_sample_value("veilform_runs_total", {**sizes, "outcome": outcome}) == 1
    assert registry.get_sample_value("veilform_run_seconds_sum", sizes) == 0.25
    sent = {"party": "server", "phase": "online", "direction": "sent"}
    assert registry.get_sample_value("veilform_bytes_total", sent) == 2000
    connected = {"party": "server", "role": "client"}
    assert registry.get_sample_value("veilform_connections", connected) == 3
    lost = {"party": "dealer", "outcome": "lost"}
    assert registry.get_sample_value("veilform_dealt_total", lost) == 1
    queue = {"model": "0123456789ab"}
    assert registry.get_sample_value("veilform_texts_waiting", queue) == 5
    assert registry.get_sample_value("veilform_sessions_connected", queue) == 1
    ours = {"party": "client", **queue, "batch": "1", "bucket": "16"}
    assert registry.get_sample_value("veilform_stocks_ready", ours) == 3
    assert registry.get_sample_value("veilform_stocks_wanted", ours) == 4
    labels = {name for m in registry.collect() for s in m.samples for name in s.labels}
    assert labels == {
        "party", "model", "batch", "bucket", "outcome", "phase", "direction", "role", "le",
    }  # fmt: skip


def test_metrics_over_http() -> None:
    registry = CollectorRegistry()
    Metrics(registry)(RUN)
    with Exporter("127.0.0.1", 0, registry) as exporter:
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics") as answer:
            text = answer.read().decode()
        assert 'veilform_runs_total{batch="2",bucket="32"' in text
        with pytest.raises(errors.InputError, match="cannot be served at"):
            Exporter("127.0.0.1", exporter.port, registry)
    assert RUN.stock not in text


def test_the_parties_spans_of_one_run_are_one_trace() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from veilform.observe.traces import Traces

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    traces = Traces(provider)
    for party in ("server", "client"):
        traces(msgspec.structs.replace(RUN, party=party))
    traces(Connected(party="server", role="client", count=3))
    first, second = spans.get_finished_spans()
    assert first.context.trace_id == second.context.trace_id == int(RUN.stock, 16)
    assert first.name == "veilform.run"
    assert first.end_time - first.start_time == pytest.approx(0.25e9, abs=1e3)
    assert first.attributes["veilform.bucket"] == 32
    assert "veilform.stock" not in first.attributes


def test_logs_are_json_without_an_exception_s_text() -> None:
    try:
        raise ValueError("the text of a client")
    except ValueError as error:
        trouble = (type(error), error, None)
    record = logging.LogRecord("veilform", logging.WARNING, "", 0, "%d runs", (3,), trouble)
    line = json.loads(JsonFormatter().format(record))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "veilform", "message": "3 runs", "error": "ValueError",
    }  # fmt: skip


def test_an_observer_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def fail(event: Event) -> None:
        raise KeyError("secret")

    everyone(fail, seen.append, ignore)(RUN)
    assert seen == [RUN]
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text
