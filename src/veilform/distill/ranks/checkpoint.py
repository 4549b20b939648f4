"""Checkpoints that every rank writes its shards of, and that any other layout can read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from veilform.distill.ranks.program import Program

PROGRESS = "progress.json"
ALL = "shards-*"
# Optimizer state by parameter name, not by group: groups differ from part to part.
BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)


def save(folder: Path, program: Program, optimizer: torch.optim.Optimizer, progress: dict) -> None:
    """Write ``folder/shards-EPOCH``, which appears whole or not at all, and drop older ones.

    The folder is one that all ranks see; ``progress`` is any JSON object with an "epoch".
    """
    target = folder / f"shards-{progress['epoch']}"
    unfinished = target.with_suffix(".part")
    dcp.save(_state(program, optimizer), checkpoint_id=unfinished)
    if dist.get_rank() == 0:
        (unfinished / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
        unfinished.rename(target)
        for old in set(folder.glob(ALL)) - {target}:
            shutil.rmtree(old)
    dist.barrier()


def load(folder: Path, program: Program, optimizer: torch.optim.Optimizer) -> dict | None:
    """Go on from the newest checkpoint; its progress, or None where there is none."""
    found = [_newest(folder) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found)
    if found[0] is None:
        return None
    path = folder / found[0]
    state = _state(program, optimizer)
    dcp.load(state, checkpoint_id=path)
    set_optimizer_state_dict(
        program.part, optimizer, optim_state_dict=state["optimizer"], options=BY_NAME
    )
    return json.loads((path / PROGRESS).read_text(encoding="utf-8"))


def _newest(folder: Path) -> str | None:
    whole = [path for path in folder.glob(ALL) if not path.suffix]
    return max(whole, key=lambda path: int(path.name.split("-")[1])).name if whole else None


def _state(program: Program, optimizer: torch.optim.Optimizer) -> dict[str, dict]:
    return {
        "model": program.part.model.state_dict(),
        "optimizer": get_optimizer_state_dict(program.part, optimizer, options=BY_NAME),
    }
