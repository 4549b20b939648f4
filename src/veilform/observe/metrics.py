"""Prometheus metrics. Needs the extra ``observe``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veilform.closing import Closing
from veilform.errors import InputError
from veilform.observe import events

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

RUN_BUCKETS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 120.0)


class Metrics:
    """An observer that keeps counts, levels and histograms.

    Labels are of few values each: a party, a model served, a length bucket, a batch size, an
    outcome. A stock's id is none of them.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        into = registry or REGISTRY
        sizes = ("party", "model", "batch", "bucket")
        self._runs = Counter(
            "veilform_runs", "Inferences, by how they ended.", (*sizes, "outcome"), registry=into
        )
        self._run_seconds = Histogram(
            "veilform_run_seconds", "Seconds online of inferences that were answered.",
            sizes, buckets=RUN_BUCKETS_S, registry=into,
        )  # fmt: skip
        self._waited_seconds = Histogram(
            "veilform_run_wait_seconds", "Seconds that a run waited for its turn.",
            ("party",), buckets=RUN_BUCKETS_S, registry=into,
        )  # fmt: skip
        self._bytes = Counter(
            "veilform_bytes", "Bytes on channels, frame headers included.",
            ("party", "phase", "direction"), registry=into,
        )  # fmt: skip
        self._messages = Counter("veilform_messages", "Messages online.", ("party",), registry=into)
        self._stocks = Counter(
            "veilform_stocks", "Stocks that came in, by how that ended.",
            (*sizes, "outcome"), registry=into,
        )  # fmt: skip
        self._dealt = Counter(
            "veilform_dealt",
            "Stocks dealt, by how that ended.",
            ("party", "outcome"),
            registry=into,
        )
        self._offline_seconds = Histogram(
            "veilform_offline_seconds", "Seconds to deal, or to take in, one stock.",
            ("party",), buckets=RUN_BUCKETS_S, registry=into,
        )  # fmt: skip
        self._connected = Gauge(
            "veilform_connections", "Parties connected, by role.", ("party", "role"), registry=into
        )
        self._waiting = Gauge(
            "veilform_runs_waiting", "Runs that wait for a turn.", ("party",), registry=into
        )
        self._texts_waiting = Gauge(
            "veilform_texts_waiting", "Texts in a gateway's queue.", ("model",), registry=into
        )
        self._texts_running = Gauge(
            "veilform_texts_running", "Texts that a gateway has in runs.", ("model",), registry=into
        )
        self._sessions = Gauge(
            "veilform_sessions_connected", "A gateway's sessions that are connected.",
            ("model",), registry=into,
        )  # fmt: skip
        self._ready = Gauge("veilform_stocks_ready", "Stocks that are ready.", sizes, registry=into)
        self._wanted = Gauge(
            "veilform_stocks_wanted", "Stocks that are to be ready.", sizes, registry=into
        )
        self._refused = Counter(
            "veilform_connections_refused", "Connections refused, by the class of the error.",
            ("party", "why"), registry=into,
        )  # fmt: skip

    def __call__(self, event: events.Event) -> None:
        """Takes an event into account."""
        if isinstance(event, events.Run):
            self._run(event)
        elif isinstance(event, events.Stocked):
            self._stocks.labels(*_sizes(event), event.outcome).inc()
            self._traffic(event, "offline")
            self._offline_seconds.labels(event.party).observe(event.seconds)
        elif isinstance(event, events.Dealt):
            self._dealt.labels(event.party, event.outcome).inc()
            self._bytes.labels(event.party, "offline", "sent").inc(event.dealt_bytes)
            self._offline_seconds.labels(event.party).observe(event.seconds)
        elif isinstance(event, events.Connected):
            self._connected.labels(event.party, event.role).set(event.count)
        elif isinstance(event, events.Waiting):
            self._waiting.labels(event.party).set(event.count)
        elif isinstance(event, events.Queued):
            self._texts_waiting.labels(event.model).set(event.waiting)
            self._texts_running.labels(event.model).set(event.running)
            self._sessions.labels(event.model).set(event.sessions)
        elif isinstance(event, events.Kept):
            self._ready.labels(*_sizes(event)).set(event.ready)
            self._wanted.labels(*_sizes(event)).set(event.wanted)
        elif isinstance(event, events.Refused):
            self._refused.labels(event.party, event.why).inc()

    def _run(self, run: events.Run) -> None:
        self._runs.labels(*_sizes(run), run.outcome).inc()
        self._waited_seconds.labels(run.party).observe(run.waited_seconds)
        if run.outcome == "done":
            self._run_seconds.labels(*_sizes(run)).observe(run.seconds)
        self._traffic(run, "online")
        self._messages.labels(run.party).inc(run.messages)

    def _traffic(self, event: events.Sized, phase: str) -> None:
        self._bytes.labels(event.party, phase, "sent").inc(event.sent_bytes)
        self._bytes.labels(event.party, phase, "received").inc(event.received_bytes)


def _sizes(event: events.Sized | events.Kept) -> tuple[str, str, str, str]:
    return event.party, event.model, str(event.batch), str(event.bucket)


class Exporter(Closing):
    """Serves metrics over HTTP, on this machine's address ``host:port``.

    Raises:
        InputError: the port is taken.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, start_http_server

        try:
            self._server, self._thread = start_http_server(port, host, registry or REGISTRY)
        except OSError as error:
            raise InputError(
                f"metrics cannot be served at {host}:{port}: {error.strerror}"
            ) from error
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Ends the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
