"""Times private inferences of a random model: dealer, server and client as three real processes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veilform.bench import machine
from veilform.bench.client_process import ClientProcess
from veilform.bench.plain import Backend, Plain, backend
from veilform.errors import InputError
from veilform.models.bert.sides import ClientSide
from veilform.models.sides import Shape
from veilform.models.text import TextEncoder, TokenBatch, bucket
from veilform.plan.cost import Report
from veilform.plan.presets import ModelShape
from veilform.plan.random_model import random_texts, write_model
from veilform.roles import DEALER, SERVER
from veilform.serve.local import LocalService
from veilform.serve.server import MOST_BATCH
from veilform.transport.links import named

START_S = 1800.0
"""A large model takes the server minutes: its bounds, and its weights to the dealer."""
TEXT_SEED = 1 << 20
"""Measured texts are others than those of the calibration."""

EXACT = ("bytes_client_to_server", "bytes_server_to_client", "offline_bytes", "messages")


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        seq: tokens of a text, [CLS] and [SEP] included; padded to 16, 32, ... 512.
        batch: texts in one inference.
        link: the name of a link between each two parties, both ways.
        runs: timed runs, after one that warms up.
        host, parties_within, client_within: where dealer and server listen, and commands that run
            them and the client, such as ``ip netns exec NAME``.
    """

    shape: ModelShape
    seq: int
    batch: int = 1
    link: str = "loopback"
    runs: int = 5
    host: str = "127.0.0.1"
    parties_within: Sequence[str] = ()
    client_within: Sequence[str] = ()

    def __post_init__(self) -> None:
        named(self.link)
        if not 1 <= self.batch <= MOST_BATCH or self.runs < 1 or self.shape.layers < 1:
            raise InputError(
                f"layers and runs are at least 1, and a batch has 1 to {MOST_BATCH} texts"
            )


def measure(
    setting: Setting,
    plain: Backend | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """The figures of ``veilform bench inference --json``; see its help for what each is.

    Args:
        plain: what computes the plain model; PyTorch if it is installed, by default.
        progress: told what is being done.

    Raises:
        InputError: the setting cannot be measured.
        VeilformError: a process failed; what it said is in the message.
    """
    with tempfile.TemporaryDirectory(prefix="veilform-bench-") as temporary:
        model = Path(temporary) / "model"
        write_model(model, setting.shape, setting.seq, progress=progress)
        with (
            LocalService(
                model,
                link=setting.link,
                host=setting.host,
                within=setting.parties_within,
                start_s=START_S,
                progress=progress,
            ) as service,
            ClientProcess(
                service.public,
                service.certificates,
                Path(temporary) / "stock",
                service.server,
                service.dealer,
                link=setting.link,
                within=setting.client_within,
            ) as client,
        ):
            progress("loading the plain model")
            return _runs(setting, service, client, Plain(model, plain or backend()), progress)


def _runs(
    setting: Setting,
    service: LocalService,
    client: ClientProcess,
    plain: Plain,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Plain and private in turn, so that a busy moment of the machine strikes both."""
    encoder = TextEncoder.from_folder(service.public)
    costs: list[dict[str, Any]] = []
    clear: list[float] = []
    exact: list[float] = []
    for run in range(setting.runs + 1):
        progress(f"run {run} of {setting.runs}" if run else "a run that warms up")
        texts = random_texts(setting.batch, setting.seq, TEXT_SEED + run)
        batch: TokenBatch = encoder.pad(encoder.encode(texts))
        # The other processes are idle: they wait for this one.
        student_seconds, exact_seconds = plain.seconds(batch)
        cost = client.infer(texts)
        if run:
            costs.append(cost)
            clear += student_seconds
            exact += exact_seconds
    for name in EXACT:
        assert len({cost[name] for cost in costs}) == 1, name
    online, offline = (
        [cost[f"{phase}_seconds"] for cost in costs] for phase in ("online", "offline")
    )
    side = ClientSide(service.public)
    report = Report(side.trace(Shape(setting.batch, bucket(setting.seq))))
    return {
        "shape": setting.shape.name,
        "seq": setting.seq,
        "layers": setting.shape.layers,
        "activation": setting.shape.activation,
        "attention": setting.shape.attention,
        "link": setting.link,
        "online_seconds": _median(online),
        "offline_seconds": _median(offline),
        "plain_seconds": _median(clear),
        **{name: costs[0][name] for name in EXACT},
        "online_seconds_by_operation": {
            name: _median([cost["operations"][name] for cost in costs])
            for name in costs[0]["operations"]
        },
        "cost_by_operation": {name: cost._asdict() for name, _, cost in report.by_operation()},
        "peak_rss_mb": {
            "client": machine.peak_rss_mb(client.pid),
            "server": machine.peak_rss_mb(service.pid(SERVER)),
            "dealer": machine.peak_rss_mb(service.pid(DEALER)),
        },
        "padded": bucket(setting.seq),
        "batch": setting.batch,
        "runs": setting.runs,
        "best_online_seconds": round(min(online), 5),
        "best_online_seconds_by_operation": {
            name: round(min(cost["operations"][name] for cost in costs), 5)
            for name in costs[0]["operations"]
        },
        "best_offline_seconds": round(min(offline), 5),
        "best_plain_seconds": round(min(clear), 5),
        "plain_exact_seconds": _median(exact),
        "plain_backend": plain.backend,
        "machine": machine.describe(),
    }


def _median(seconds: list[float]) -> float:
    return round(statistics.median(seconds), 5)
