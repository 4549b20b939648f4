"""How training is spread: degrees of parallelism, cuts between stages, and who sits where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError


@dataclass(frozen=True)
class Strategy:
    """One way to train a model on ``tp * dp * pp`` devices.

    Attributes:
        tp: tensor parallel: devices that share each layer.
        dp: data parallel: copies of the pipeline, each with its part of the batch.
        pp: pipeline parallel: stages.
        micro_batch: samples that pass through a pipeline together.
        cuts: ``pp + 1`` layer numbers, ascending: stage ``s`` has layers ``cuts[s]`` to
            ``cuts[s + 1] - 1``; the first is 0 and the last the number of layers.
        placement: device of each rank; of the ranks tp runs fastest, then dp, then pp. Empty:
            device ``r`` is rank ``r``.
    """

    tp: int
    dp: int
    pp: int
    micro_batch: int
    cuts: tuple[int, ...]
    placement: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("tp", "dp", "pp", "micro_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"a strategy's {name} is {getattr(self, name)}; it is at least 1")
        cuts = self.cuts
        ascending = all(low < high for low, high in pairwise(cuts))
        if len(cuts) != self.pp + 1 or cuts[0] != 0 or not ascending:
            raise InputError(
                f"the cuts {list(cuts)} are not {self.pp + 1} ascending layer numbers from 0, "
                f"for {self.pp} stages"
            )
        if self.placement and len({*self.placement}) != self.world:
            raise InputError(f"the placement does not name {self.world} different devices")
        if not self.placement:
            object.__setattr__(self, "placement", tuple(range(self.world)))

    @property
    def world(self) -> int:
        """How many devices it needs."""
        return self.tp * self.dp * self.pp

    def devices(self) -> NDArray[np.intp]:
        """Device of each rank, as (pp, dp, tp)."""
        return np.array(self.placement).reshape(self.pp, self.dp, self.tp)

    def micro_batches(self, global_batch: int) -> int:
        """Micro-batches that one pipeline runs for a step.

        Raises:
            InputError: the batch does not divide into them.
        """
        count, rest = divmod(global_batch, self.dp * self.micro_batch)
        if rest or not count:
            raise InputError(
                f"a batch of {global_batch} does not divide into {self.dp} pipelines (dp) times "
                f"micro-batches of {self.micro_batch}"
            )
        return count

    def stages(self) -> Iterator[tuple[int, int]]:
        """First layer, and the one after the last, of each stage."""
        return pairwise(self.cuts)

    def as_dict(self) -> dict[str, Any]:
        """Itself as JSON holds it."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Strategy:
        """Reads what :meth:`as_dict` made.

        Raises:
            InputError: a field is missing or has another form.
        """
        try:
            tp, dp, pp, micro_batch = (
                int(document[name]) for name in ("tp", "dp", "pp", "micro_batch")
            )
            cuts, placement = (
                tuple(int(each) for each in document.get(name) or ())
                for name in ("cuts", "placement")
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no strategy: {error!r}") from None
        return cls(tp, dp, pp, micro_batch, cuts, placement)
