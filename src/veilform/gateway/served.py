"""The models that a gateway offers, by name and version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veilform.errors import InputError
from veilform.gateway.problems import Problem
from veilform.models.answers import CLASSIFICATION, EMBEDDING, Task
from veilform.models.bert.sides import ClientSide
from veilform.models.text import Pair, Text, Tokens
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
    def task(self) -> Task[Any]:
        """What it is for."""
        return CLASSIFICATION if self.side.config.classifies else EMBEDDING

    @property
    def ready(self) -> bool:
        """Whether a session is connected."""
        return self.pool.state.connected > 0

    def close(self) -> None:
        """Ends its sessions, and the making of stocks."""
        self.pool.close()
        if self.depot is not None:
            self.depot.close()

    def require(self, task: Task[Any]) -> None:
        """Raises Problem if the model is for another task."""
        if task is not self.task:
            raise Problem(400, "task", f"model {self.name} is for {self.task.name}")

    def tokens(self, texts: Sequence[Text | Pair]) -> list[Tokens]:
        """Raises InputError for a text that cannot be used, by its number."""
        return self.side.public.encoder.encode(texts)

    def result(self, outcome: Outcome) -> dict[str, Any]:
        """One text's answer: label, score and logits, or embedding."""
        output = [float(each) for each in outcome.output]
        if self.task is EMBEDDING:
            return {"embedding": output}
        answer = CLASSIFICATION.answer(outcome.output, self.side.config)
        return {**answer, "logits": output}

    def described(self) -> dict[str, Any]:
        """For the page and for programs that choose."""
        return {
            "name": self.name,
            "version": self.version,
            "task": self.task.name,
            "labels": list(self.side.config.labels),
            "lengths": [scales.length for scales in self.side.scales.lengths],
            "ready": self.ready,
        }


class Catalogue:
    """All of them. The first is the default; of a name, the version that comes last."""

    def __init__(self, served: Sequence[Served]) -> None:
        if not served:
            raise InputError("a gateway needs a model: give --public NAME=FOLDER")
        self.all = tuple(served)
        self._versions: dict[str, dict[str, Served]] = {}
        for one in served:
            versions = self._versions.setdefault(one.name, {})
            if one.version in versions:
                raise InputError(f"model {one.name} version {one.version} is given twice")
            versions[one.version] = one

    def find(self, name: str | None = None, version: str | None = None) -> Served:
        """Raises Problem (404) if there is none."""
        versions = self.versions(self.all[0].name if name is None else name)
        found = versions.get(version) if version is not None else list(versions.values())[-1]
        if found is None:
            raise Problem(404, "not_found", "the model has no such version; see /models")
        return found

    def versions(self, name: str) -> Mapping[str, Served]:
        """All versions of a model; Problem (404) if it is unknown."""
        if name not in self._versions:
            raise Problem(404, "not_found", "there is no such model; see /models")
        return self._versions[name]

    def close(self) -> None:
        """Ends all sessions."""
        for one in self.all:
            one.close()
