"""Private answers to many inputs, by one client here or by one in each worker of a cluster.

Every worker is a client of its own, with stocks of its own, and holds inputs in the clear: the
cluster is the client's. To a worker go token ids or images, and names of files; from it come logits
and costs.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from veilform.errors import ModelError, RangeError, VeilformError, of_exit_code
from veilform.models.checkpoint import is_folder, model_digest, resolve
from veilform.models.sides import Batch, Encoder
from veilform.serve.client import Client, InferenceCost, Logits
from veilform.serve.local import LocalService
from veilform.serve.remote import remote_client
from veilform.serve.service import place
from veilform.spread.cluster import Cluster

Where = tuple[str, ...]
"""Which service answers: what `own` or `running` returns."""
Job = Sequence[Any]
"""Encoded inputs of one length, for one run."""


class Run(NamedTuple):
    """One private run.

    Attributes:
        texts: which of the job's inputs it was for.
        logits: of each of them.
    """

    texts: tuple[int, ...]
    logits: tuple[tuple[float, ...], ...]
    cost: InferenceCost


Answers: TypeAlias = Generator[tuple[int, list[Run]], None, None]
"""The number of each job, and its runs. To be closed if it is not read to its end."""


class Infers(Protocol):
    """What a `Client` does here."""

    def infer(self, batch: Batch) -> tuple[Logits, InferenceCost]:
        """The logits of a batch."""


def own(model: str) -> Where:
    """Dealer and server are started beside each client.

    Args:
        model: a checkpoint folder, which must be there on every node, or a shipped student's name.
    """
    return ("own", str(Path(model).absolute()) if is_folder(Path(model)) else model)


def running(public: Path, server: str, dealer: str, certificates: Path, stock: Path) -> Where:
    """A service that runs elsewhere; the folders must be there on every node.

    Args:
        certificates: the client's; its key is read from there, and goes nowhere.
        stock: where each client makes a folder for its stocks, and removes it.
    """
    folders = [str(folder.absolute()) for folder in (public, certificates, stock)]
    return ("running", folders[0], server, dealer, *folders[1:])


@contextlib.contextmanager
def opened(where: Where, digest: str) -> Iterator[Client]:
    """A client of that service, which serves the model with that digest.

    Raises:
        VeilformError: the service cannot be started or reached, or the model is another one.
    """
    with contextlib.ExitStack() as stack:
        match where:
            case ("own", model):
                folder = resolve(model)
                _require(model_digest(folder) == digest, model)
                service = stack.enter_context(LocalService(folder))
                yield stack.enter_context(service.client())
            case (_, public, server, dealer, certificates, stock):
                Path(stock).mkdir(mode=0o700, parents=True, exist_ok=True)
                mine = stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=stock))
                client = remote_client(Path(public), server, dealer, Path(certificates), Path(mine))
                stack.enter_context(client)
                _require(client.side.model == digest, public)
                yield client


def _require(same: bool, folder: str) -> None:
    if not same:
        raise ModelError(f"{folder} holds another model than the one that is evaluated")


def answered(
    client: Infers, encoder: Encoder, job: Job, chosen: Sequence[int] | None = None
) -> list[Run]:
    """The runs of a job: one, or one for each input if one of them has no answer."""
    texts = range(len(job)) if chosen is None else chosen
    try:
        logits, cost = client.infer(encoder.pad([job[i] for i in texts]))
    except RangeError:
        if len(texts) == 1:
            return []
        return [run for i in texts for run in answered(client, encoder, job, [i])]
    return [Run(tuple(texts), tuple(map(tuple, logits.tolist())), cost)]


def here(where: Where, digest: str, jobs: Sequence[Job]) -> Answers:
    """The number and the runs of each job, in order, by one client in this process.

    Raises:
        VeilformError: the service does not start, or a run broke off.
    """
    with opened(where, digest) as client:
        for number, job in enumerate(jobs):
            yield number, answered(client, client.side.encoder, job)


def spread(
    cluster: Cluster, where: Where, digest: str, encoder: Encoder, jobs: Sequence[Job]
) -> Answers:
    """The same by a client in each worker, in the order in which they end.

    A job whose worker died is done again by another client, hence with fresh stock.

    Raises:
        VeilformError: as `here`; or workers go on dying.
    """
    plain = [(tuple(map(encoder.packed, job)),) for job in jobs]
    for number, (code, said) in cluster.work(Answering, (digest, *where), plain):
        if code:
            raise of_exit_code(code)(said)
        yield number, [Run(texts, logits, InferenceCost(*cost)) for texts, logits, cost in said]


class Answering:
    """A client in a process of a cluster. Results are plain; nothing is raised, nothing logged."""

    def __init__(self, digest: str, *where: str) -> None:
        self._digest, self._where = digest, where
        self._stack = contextlib.ExitStack()
        self._client: Client | None = None

    def do(self, inputs: Sequence[tuple[Any, ...]]) -> tuple[int, Any]:
        """0 and the job's runs, or an error's exit code and its text."""
        try:
            if self._client is None:
                self._client = self._stack.enter_context(opened(self._where, self._digest))
            encoder = self._client.side.encoder
            runs = answered(self._client, encoder, [encoder.unpacked(each) for each in inputs])
        except VeilformError as error:
            return error.exit_code, str(error)
        except Exception as error:
            # Its text may hold anything: only its kind and place leave.
            return VeilformError.exit_code, f"a worker failed: {place(error)}"
        return 0, [(run.texts, run.logits, tuple(run.cost)) for run in runs]

    def close(self) -> None:
        """Ends the client, and the service that it started."""
        self._stack.close()
