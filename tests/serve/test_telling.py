"""What a deployment tells its observers of an inference."""

from __future__ import annotations

from tests.serve.deployment import Deployment

from veilform.models.bert.sides import Shape
from veilform.models.text import TokenBatch
from veilform.observe import Dealt, Event, Run, Stocked


def test_a_deployment_tells_what_happens(deployment: Deployment, batch: TokenBatch) -> None:
    told: list[Event] = []
    deployment.server._tell = deployment.dealer._tell = told.append
    with deployment.client() as client:
        client.prepare(Shape(*batch.ids.shape))
        _, cost = client.infer(batch)
    (dealt,) = (event for event in told if isinstance(event, Dealt))
    (stocked,) = (event for event in told if isinstance(event, Stocked))
    (run,) = (event for event in told if isinstance(event, Run))
    assert dealt.outcome == stocked.outcome == run.outcome == "done"
    assert dealt.stock == stocked.stock == run.stock
    assert (run.batch, run.bucket) == batch.ids.shape
    assert run.messages == cost.messages
    assert run.received_bytes == cost.bytes_client_to_server
    assert deployment.side.model.startswith(run.model)
