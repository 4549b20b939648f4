"""What every party's command shares on being watched: flags, and observers made of settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from veilform.commands import console
from veilform.observe import Observer, everyone
from veilform.roles import Role

if TYPE_CHECKING:
    from veilform.settings.kinds import PartySettings

Metrics = Annotated[
    str | None, typer.Option(help="host:port at which Prometheus finds metrics.", metavar="ADDRESS")
]
Traces = Annotated[
    bool | None,
    typer.Option("--traces", help="Send OpenTelemetry spans; OTEL_EXPORTER_OTLP_ENDPOINT: where."),
]
LogFormat = Annotated[str | None, typer.Option(help="text, or json with one object a line.")]
Patience = Annotated[
    float | None,
    typer.Option("--patience", help="Seconds that requests in work are given at the end.", min=0),
]


@contextlib.contextmanager
def observers(settings: PartySettings, party: Role) -> Iterator[Observer]:
    """Who is told of what the party does, for the time of the block.

    Raises:
        InputError: an extra is not installed, or the metrics' port is taken.
    """
    from veilform.serve.address import parse

    told: list[Observer] = []
    with contextlib.ExitStack() as ending:
        if settings.metrics is not None:
            console.require_extra("observe", "prometheus_client")
            from veilform.observe import metrics

            told.append(metrics.Metrics())
            ending.enter_context(metrics.Exporter(*parse(settings.metrics)))
        if settings.traces:
            console.require_extra("observe", "opentelemetry.sdk")
            from veilform.observe.traces import exporting

            told.append(ending.enter_context(exporting(party.value)))
        yield everyone(*told)
