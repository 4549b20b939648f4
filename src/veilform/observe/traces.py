"""OpenTelemetry traces. Needs the extra ``observe``.

A trace is named by its stock's id: 128 random bits that client, server and dealer know anyway. So
the parties' spans of one inference meet in one trace, and nothing is added to what is sent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from veilform.observe import events

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider


class Traces:
    """An observer that makes a span of each run, each stock taken in, and each dealing.

    Args:
        provider: where the spans go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("veilform")

    def __call__(self, event: events.Event) -> None:
        """Makes a span of an event that has a duration."""
        if not isinstance(event, events.Run | events.Stocked | events.Dealt):
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        end = time.time_ns()
        span = self._tracer.start_span(
            f"veilform.{type(event).__name__.lower()}",
            context=_trace_of(event.stock),
            kind=SpanKind.CLIENT if event.party == "client" else SpanKind.SERVER,
            start_time=end - int(event.seconds * 1e9),
            attributes=_attributes(event),
        )
        if event.outcome != "done":
            span.set_status(Status(StatusCode.ERROR, event.outcome))
        span.end(end)


def _attributes(event: events.Event) -> dict[str, str | int | float]:
    names = (name for name in event.__struct_fields__ if name not in ("stock", "seconds"))
    return {f"veilform.{name}": getattr(event, name) for name in names}


def _trace_of(stock: str) -> Context:
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    parent = SpanContext(
        trace_id=int(stock, 16),
        span_id=int(stock[:16], 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return set_span_in_context(NonRecordingSpan(parent))


@contextlib.contextmanager
def exporting(party: str) -> Iterator[Traces]:
    """Traces that go by OTLP to where OpenTelemetry's own variables say, in the background.

    What is left at the end of the block is sent before it ends.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"veilform-{party}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield Traces(provider)
    finally:
        provider.shutdown()
