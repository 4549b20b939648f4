"""How a model lies on several devices: the part of a parallel plan that training needs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from veilform.errors import InputError

MAX_PLAN_BYTES = 1 << 20


@dataclass(frozen=True)
class Layout:
    """Degrees of parallelism, and where each rank sits.

    Ranks are numbered tensor parallel fastest, then data parallel, then pipeline:
    ``rank = (part * dp + replica) * tp + shard``.

    Attributes:
        tp: devices that share every layer (heads, and columns of the feed-forward block).
        dp: copies of the model, each with its share of a batch.
        pp: parts of the pipeline.
        micro_batch: texts that pass through the pipeline together.
        cuts: layers of each part, ``pp`` numbers; empty: as even as can be. The embeddings
            are in the first part besides, the head in the last.
        placement: device of each rank, where device ``d`` is the process that ``torchrun`` numbers
            ``d`` (node by node, in order); empty: in order.

    Raises:
        InputError: a degree below 1, cuts or a placement of another length, a device named twice.
    """

    tp: int = 1
    dp: int = 1
    pp: int = 1
    micro_batch: int = 1
    cuts: tuple[int, ...] = ()
    placement: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("tp", "dp", "pp", "micro_batch"):
            if getattr(self, name) < 1:
                raise InputError(f"a plan's {name} must be 1 or more, not {getattr(self, name)}")
        if self.cuts and len(self.cuts) != self.pp:
            raise InputError(
                f"a plan with pp {self.pp} needs as many cuts (layers of each part), "
                f"not {len(self.cuts)}"
            )
        if self.cuts and min(self.cuts) < 1:
            raise InputError(f"every part of a pipeline needs a layer; the cuts are {self.cuts}")
        if self.placement and sorted(self.placement) != list(range(self.world)):
            raise InputError(
                f"a placement of {self.world} ranks names each of the devices 0 to "
                f"{self.world - 1} once"
            )

    @classmethod
    def from_json(cls, path: Path) -> Layout:
        """Read a plan file: an object with the attributes' names; other keys are the planner's.

        Raises:
            InputError: it cannot be read, or a value is no whole number or list of them.
        """
        try:
            if path.stat().st_size > MAX_PLAN_BYTES:
                raise InputError(f"{path} is too large for a plan")
            plan = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is no plan: {error}") from None
        if not isinstance(plan, dict):
            raise InputError(f"{path} is no plan: it must hold an object with tp, dp and pp")
        missing = [name for name in ("tp", "dp", "pp", "micro_batch") if name not in plan]
        if missing:
            raise InputError(f"{path} is no plan: it has no {', '.join(missing)}")
        numbers = {name: plan[name] for name in ("tp", "dp", "pp", "micro_batch")}
        lists = {name: plan.get(name) or [] for name in ("cuts", "placement")}
        for name, value in numbers.items():
            if type(value) is not int:
                raise InputError(f"{path}: {name} must be a whole number")
        for name, values in lists.items():
            if not isinstance(values, list) or any(type(value) is not int for value in values):
                raise InputError(f"{path}: {name} must be a list of whole numbers")
        return cls(**numbers, **{name: tuple(values) for name, values in lists.items()})

    @property
    def world(self) -> int:
        """Devices in all."""
        return self.tp * self.dp * self.pp

    @property
    def rows(self) -> int:
        """Texts that one micro-batch of every replica has: what a batch is a multiple of."""
        return self.dp * self.micro_batch

    def rank_of(self, device: int) -> int:
        """The rank that sits on a device."""
        return self.placement.index(device) if self.placement else device

    def spans(self, layers: int) -> list[range]:
        """The layers of each part.

        Raises:
            InputError: the cuts do not add up to ``layers``, or there are more parts than layers.
        """
        if self.pp > layers:
            raise InputError(f"a model of {layers} layers has no {self.pp} parts")
        cuts = self.cuts or tuple(
            layers // self.pp + (part < layers % self.pp) for part in range(self.pp)
        )
        if sum(cuts) != layers:
            raise InputError(
                f"the plan's cuts {list(cuts)} add up to {sum(cuts)} layers, the model has {layers}"
            )
        ends = list(accumulate(cuts))
        return [range(end - size, end) for end, size in zip(ends, cuts, strict=True)]

    def check_widths(self, widths: Sequence[tuple[str, int]]) -> None:
        """Refuse what tensor parallelism cannot share evenly.

        Raises:
            InputError: ``tp`` does not divide one of the named numbers.
        """
        for name, number in widths:
            if number % self.tp:
                raise InputError(f"{number} {name} cannot be shared by tp {self.tp} devices")

    def check_batch(self, batch: int) -> None:
        """Refuse a batch that does not come out even.

        Raises:
            InputError: it is no multiple of ``dp`` times ``micro_batch``.
        """
        if batch % self.rows:
            below = self.rows * math.floor(batch / self.rows)
            raise InputError(
                f"a batch of {batch} texts is no multiple of dp {self.dp} x micro-batch "
                f"{self.micro_batch}: take {below or self.rows} or {below + self.rows}"
            )
