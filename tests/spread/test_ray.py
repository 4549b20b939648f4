"""A local cluster of two workers: what it answers and deals, workers that die, and what is said."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import signal
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.checkpoints import TEXTS
from tests.conftest import Run
from tests.serve.deployment import Deployment, fresh, used

from veilform.correlation.deal import Dealing
from veilform.correlation.weights import dealer_part, packed
from veilform.distill.examples import Example
from veilform.errors import ConnectionFailed, ModelError
from veilform.evaluation import Evaluator
from veilform.models.bert.secure import weight_shapes
from veilform.models.bert.sides import ServerSide, Shape
from veilform.models.checkpoint import model_digest
from veilform.models.text import TokenBatch
from veilform.roles import CLIENT, SERVER
from veilform.spread import answering
from veilform.spread.answering import Answering
from veilform.spread.cluster import Cluster
from veilform.spread.dealing import Spread

# Not importorskip: Ray reads the environment when it is imported.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")

EXAMPLES = [Example(text, i % 2) for i, text in enumerate(TEXTS[:2] + TEXTS[3:4])]
SECRET = "quetzalcoatl"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with warnings.catch_warnings():
        # Ray does not wait for the processes that it ends.
        warnings.simplefilter("ignore", ResourceWarning)
        with Cluster(workers=2) as running:
            yield running
            folder = session(running)
            assert folder.is_dir()
        gc.collect()
    assert not folder.exists()


def session(cluster: Cluster) -> Path:
    """Where Ray keeps its sockets and logs."""
    return Path(cluster._ray._private.worker._global_node.get_session_dir_path())


def service(deployment: Deployment, certificates: Path, tmp_path: Path) -> answering.Where:
    """A deployment in threads of this process, as a worker is told of it."""
    return answering.running(
        deployment.public, deployment.server_address, deployment.dealer_address, certificates,
        tmp_path / "stocks",
    )  # fmt: skip


class Numbered:
    def __init__(self, *flags: str) -> None:
        self.flags = [Path(flag) for flag in flags]

    def do(self, number: int, deadly: bool) -> tuple[int, int]:
        for flag in self.flags if deadly else []:
            if not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return number, os.getpid()

    def close(self) -> None:
        pass


def test_jobs_of_workers_that_die_are_done_by_others(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [str(tmp_path / "once"), str(tmp_path / "twice")]
    jobs = [(number, number == 2) for number in range(5)]
    done = dict(cluster.work(Numbered, flags, jobs))
    assert {number: result[0] for number, result in done.items()} == {n: n for n in range(5)}
    assert os.getpid() not in {pid for _, pid in done.values()}
    monkeypatch.setattr("veilform.spread.cluster.MOST_TRIES", 1)
    with pytest.raises(ConnectionFailed, match="1 workers died of one job"):
        list(cluster.work(Numbered, [str(tmp_path / "again")], jobs[:3]))


def counted(flag: str, count: int) -> Iterator[bytes]:
    for number in range(count):
        if flag and number == 7 and not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield bytes([number]) * 200_000  # too much to go with the message


def failing() -> Iterator[bytes]:
    yield b"some"
    raise ValueError(SECRET)


def test_a_stream_outlives_its_worker(cluster: Cluster, tmp_path: Path) -> None:
    came = list(cluster.stream(counted, str(tmp_path / "died"), 12))
    assert (tmp_path / "died").exists()
    assert came == list(counted("", 12))


def test_a_reader_that_leaves_frees_the_worker(cluster: Cluster) -> None:
    for _ in range(2):
        stream = cluster.stream(counted, "", 50)
        next(stream)
        stream.close()
    assert len(list(cluster.stream(counted, "", 3))) == 3


def test_what_a_worker_raises_is_not_told(cluster: Cluster) -> None:
    with pytest.raises(ConnectionFailed) as error:
        list(cluster.stream(failing))
    assert SECRET not in str(error.value)
    assert error.value.__suppress_context__


def test_the_same_bytes_are_dealt(cluster: Cluster, tiny_side: ServerSide) -> None:
    manifest = tiny_side.manifest(Shape(2, 16), "0" * 32)
    seeds = {CLIENT: b"c" * 16, SERVER: b"s" * 16}
    rng = np.random.default_rng(1)
    masked = {
        name: dealer_part(b"p" * 16, name, rng.integers(0, 1 << 40, shape, np.uint64))
        for name, shape in weight_shapes(tiny_side.config, False).items()
    }
    deals = Spread(cluster)
    held = {name: deals.hold(name, words) for name, words in masked.items()}
    for _ in range(2):  # the second time with weights that are packed already
        ours = list(deals.run(manifest, seeds, held))
        theirs = list(Dealing(manifest, seeds, packed(masked)).run())
        for role in seeds:
            assert whole(ours, role) == whole(theirs, role)


def whole(dealt: list[Any], role: Any) -> str:
    return hashlib.sha256(b"".join(part for each in dealt for part in each[role])).hexdigest()


def test_a_dealer_with_a_cluster(
    cluster: Cluster, deployment: Deployment, batch: TokenBatch
) -> None:
    with deployment.client() as client:
        expected, _ = client.infer(batch)
    deployment.restart_dealer()
    deployment.dealer._deals = Spread(cluster)
    with deployment.client() as client:
        logits, _ = client.infer(batch)
    assert np.abs(logits - expected).max() < 0.01
    assert len(used(deployment.server_folder)) == 2


class Dying(Answering):
    """The first one dies in the middle of its first run."""

    def do(self, texts: Any) -> tuple[int, Any]:
        with contextlib.suppress(FileExistsError):
            (Path(self._where[-1]).parent / "died").touch(exist_ok=False)
            self._client = self._stack.enter_context(answering.opened(self._where, self._digest))
            genuine, messages = self._client._server.begin_data, iter(range(99))

            def begin_data(size: int) -> Any:
                if next(messages) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return genuine(size)

            self._client._server.begin_data = begin_data  # type: ignore[method-assign]
        return super().do(texts)


def test_answers_are_those_of_one_client_though_a_worker_dies(
    cluster: Cluster,
    deployment: Deployment,
    tiny: Path,
    certificates: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = service(deployment, certificates, tmp_path)
    evaluator = Evaluator.of_texts(tiny, EXAMPLES)
    alone = evaluator.private(3, batch=1, where=where)
    assert len(used(deployment.server_folder)) == 3
    monkeypatch.setattr(answering, "Answering", Dying)
    seen: list[tuple[str, int, int]] = []
    spread = evaluator.private(3, lambda *done: seen.append(done), 1, where, cluster)
    assert (tmp_path / "died").exists()
    # Roundings are drawn anew in each run.
    assert np.abs(spread.logits - alone.logits).max() < 0.01
    assert seen == [("private", done, 3) for done in (1, 2, 3)]
    assert shown(spread) == shown(alone)
    # Its run, which the server had begun, and three more, each with a stock of its own.
    assert len(used(deployment.server_folder)) == len(set(used(deployment.server_folder))) == 7
    deadline = time.monotonic() + 5
    while fresh(deployment.server_folder):  # the server may still be closing what it read
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown(answers: Any) -> dict[int, list[tuple[int, int, int]]]:
    """The part of the costs that does not depend on the machine."""
    return {
        length: [(texts, cost.messages, cost.bytes_client_to_server) for texts, cost in runs]
        for length, runs in answers.costs.items()
    }


def test_another_model_is_refused(
    cluster: Cluster, deployment: Deployment, other_tiny: Path, certificates: Path, tmp_path: Path
) -> None:
    where = service(deployment, certificates, tmp_path)
    with pytest.raises(ModelError, match="another model"):
        Evaluator.of_texts(other_tiny, EXAMPLES).private(3, where=where, cluster=cluster)


def test_the_command_and_what_ray_writes_down(
    cluster: Cluster,
    veilform: Run,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "veilform.spread.cluster.Cluster", lambda *given: contextlib.nullcontext(cluster)
    )
    data = tmp_path / "data.jsonl"
    rows = [{"text": f"{SECRET} {e.text}", "label": e.label} for e in EXAMPLES]
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.chdir(tiny.parent)
    code, out, err = veilform(
        "evaluate", tiny.name, "--data", data, "--private", 3, "--batch", 2, "--ray", "local",
        "--json",
    )  # fmt: skip
    assert code == 0, err
    figures = json.loads(out)
    assert figures["private"]["agreement"] == 1
    assert figures["private"]["texts"] == 3
    told = "".join(path.read_text("utf-8", "replace") for path in logs(cluster))
    assert "worker" in told.lower(), "the collection is not what it should be"
    ids = [str(tokens.ids)[1:-1] for tokens in Evaluator.of_texts(tiny, EXAMPLES).encoded]
    for secret in (SECRET, *ids, (b"c" * 16).hex(), "c" * 16):
        assert secret not in told


def logs(cluster: Cluster) -> list[Path]:
    time.sleep(0.2)
    return [p for p in session(cluster).rglob("*") if p.is_file() and not p.is_symlink()]


def test_a_broken_worker_tells_kind_and_place(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> Any:
        raise ValueError(SECRET)

    monkeypatch.setattr(answering, "opened", broken)
    worker = Answering(model_digest(tiny), *answering.own(str(tiny)))
    code, said = worker.do([((1, 2), (0, 0))])
    assert code == 1
    assert said.startswith("a worker failed: ValueError at")
    assert SECRET not in said
