"""The dashboard and the page ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from tests.scripts import ROOT

from veilform.observe.metrics import Metrics

DASHBOARD = ROOT / "deploy" / "grafana" / "veilform.json"
PAGE = ROOT / "docs" / "observability.md"
SERIES = re.compile(r"(veilform_\w+)(?:\{([^}]*)\})?")
GROUPS = re.compile(r"by \(([^)]*)\)")


def metrics() -> dict[str, set[str]]:
    """Series by name, with their labels."""
    registry = CollectorRegistry()
    found: dict[str, set[str]] = {}
    for value in vars(Metrics(registry)).values():
        labels = set(value._labelnames)
        for suffix in {"counter": ("_total",), "gauge": ("",)}.get(
            value._type, ("_sum", "_count", "_bucket")
        ):
            found[value._name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_the_dashboard_asks_for_what_there_is() -> None:
    known = metrics()
    for expression in expressions():
        for name, chosen in SERIES.findall(expression):
            labels = set(re.findall(r"(\w+)[=!]", chosen))
            for group in GROUPS.findall(expression):
                labels |= {label.strip() for label in group.split(",")}
            assert labels <= known[name] | {"le"}, expression


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not taken & cells
        taken |= cells


def test_the_page_lists_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(veilform_\w+)` \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    listed = {name: {label.strip() for label in labels.split(",")} for name, labels in rows}
    bases = {re.sub("_(sum|count|bucket)$", "", name): v - {"le"} for name, v in metrics().items()}
    assert listed == bases
