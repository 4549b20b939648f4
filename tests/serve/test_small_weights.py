"""A model of small integers over real TLS: answers, and the bytes that its trace declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints import make_tiny
from tests.serve.deployment import serving

from veilform.models.bert.plain import PlainBert
from veilform.models.bert.quantize import quantize
from veilform.models.bert.sides import ServerSide, Shape
from veilform.plan.cost import Report
from veilform.plan.private.rehearse import SMALL, rehearse
from veilform.roles import SERVER, Role
from veilform.transport import Identity


@pytest.fixture
def small(tmp_path: Path) -> Path:
    make_tiny(tmp_path / "float", calibrated=True)
    quantize(tmp_path / "float", tmp_path / "small", [("*.inner", 4), ("*", 8)])
    return tmp_path / "small"


def test_a_small_model_is_served(
    small: Path, party_identities: dict[Role, Identity], tmp_path: Path
) -> None:
    side = ServerSide(small)
    with serving(side, party_identities, tmp_path) as deployment, deployment.client() as client:
        encoder = client.side.encoder
        batch = encoder.pad(encoder.encode(["the film was not good"]))
        answer, cost = client.infer(batch)
    plain = PlainBert.load(small, np.float64).forward(batch.ids, batch.mask, batch.types)
    assert np.abs(answer - plain).max() < 0.1
    report = Report(side.trace(Shape(*batch.ids.shape)))
    assert cost.bytes_client_to_server == report.up_bytes
    assert cost.bytes_server_to_client == report.down_bytes
    assert cost.offline_bytes == report.trace.total.offline_bytes


def test_a_rehearsal_counts_products_of_bytes(small: Path) -> None:
    side = ServerSide(small)
    shape = Shape(2, 32)
    steps = rehearse(side.program(shape).abstract)[SERVER]
    layers = side.scales.at(32).layers
    shapes = side.weight_shapes
    wanted = 0
    for i, layer in enumerate(layers):
        rings = {
            "qkv": layer.attention.qkv,
            "projection": layer.attention.projected,
            "inner": layer.feedforward.inner + layer.feedforward.entry,
            "outer": layer.feedforward.output,
        }
        for part, bits in rings.items():
            rows, columns = shapes[f"layer.{i}.{part}"]
            wanted += 2 * 32 * rows * columns * -(-bits // 8)
    assert sum(step.units for step in steps if step.kind == SMALL) == wanted
