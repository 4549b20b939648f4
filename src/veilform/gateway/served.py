"""The models that a gateway offers, by name and version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veilform.errors import InputError
from veilform.gateway.problems import Problem
from veilform.models.answers import EMBEDDING, IMAGES, TASKS, Task, classify
from veilform.models.sides import ClientSide
from veilform.serve.depot import Depot
from veilform.serve.pool import Outcome, Pool


@dataclass(frozen=True, eq=False)
class Served:
    """One version of one model, the sessions that run it, and where their stocks are made."""

    name: str
    version: str
    side: ClientSide
    pool: Pool
    depot: Depot | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Its name, its version, and the digest of what is served."""
        return self.name, self.version, self.side.model

    @property
    def task(self) -> Task[Any]:
        """What it is for."""
        return TASKS[self.side.config.task]

    @property
    def ready(self) -> bool:
        """Whether a session is connected."""
        return self.pool.state.connected > 0

    def close(self, patience_s: float = 5.0) -> None:
        """Ends its sessions, giving runs this long to end, and the making of stocks."""
        self.pool.close(patience_s)
        if self.depot is not None:
            self.depot.close()

    def require(self, task: Task[Any]) -> None:
        """Raises Problem if the model is for another task."""
        if task is not self.task:
            advice = "; send a picture, Content-Type: image/png" if self.task is IMAGES else ""
            raise Problem(400, "task", f"model {self.name} is for {self.task.name}{advice}")

    def encoded(self, inputs: Sequence[Any]) -> list[Any]:
        """Raises InputError for an input that cannot be used, by its number."""
        return self.side.encoder.encode(inputs)

    def result(self, outcome: Outcome) -> dict[str, Any]:
        """One input's answer: label, score and logits, or embedding."""
        output = [float(each) for each in outcome.output]
        if self.task is EMBEDDING:
            return {"embedding": output}
        answer = classify(outcome.output, self.side.config)
        return {**answer, "logits": output}

    def described(self) -> dict[str, Any]:
        """For the page and for programs that choose."""
        return {
            "name": self.name,
            "version": self.version,
            "task": self.task.name,
            "labels": list(self.side.config.labels),
            "lengths": list(self.side.lengths),
            "takes": self.side.takes,
            "ready": self.ready,
        }


class Catalogue:
    """All of them. The first is the default; of a name, the version that comes last."""

    def __init__(self, served: Sequence[Served]) -> None:
        self._all, self._versions = tuple(served), _by_version(served)

    @property
    def all(self) -> tuple[Served, ...]:
        """Those that are offered now."""
        return self._all

    def offer(self, served: Sequence[Served]) -> list[Served]:
        """Offers these from now on; those that are offered no more, for the caller to close.

        Raises:
            InputError: there are none, or two are called the same; nothing has changed.
        """
        before, versions = self._all, _by_version(served)
        self._all, self._versions = tuple(served), versions
        return [one for one in before if one not in served]

    def find(self, name: str | None = None, version: str | None = None) -> Served:
        """Raises Problem (404) if there is none."""
        versions = self.versions(self.all[0].name if name is None else name)
        found = versions.get(version) if version is not None else list(versions.values())[-1]
        if found is None:
            raise Problem(404, "not_found", "the model has no such version; see /models")
        return found

    def versions(self, name: str) -> Mapping[str, Served]:
        """All versions of a model; Problem (404) if it is unknown."""
        found = self._versions.get(name)
        if found is None:
            raise Problem(404, "not_found", "there is no such model; see /models")
        return found

    def close(self) -> None:
        """Ends all sessions."""
        for one in self.all:
            one.close()


def _by_version(served: Sequence[Served]) -> dict[str, dict[str, Served]]:
    if not served:
        raise InputError("a gateway needs a model: give --public NAME=FOLDER")
    found: dict[str, dict[str, Served]] = {}
    for one in served:
        versions = found.setdefault(one.name, {})
        if one.version in versions:
            raise InputError(f"model {one.name} version {one.version} is given twice")
        versions[one.version] = one
    return found
