"""One resumable training loop: AdamW, warm-up and linear decay, clipping, best epoch."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .data import Batch, Encoded

LOG = logging.getLogger("veilform.distill")


@dataclass(frozen=True)
class Plan:
    """Settings of one stage; ``bf16`` selects CPU autocast to bfloat16."""

    epochs: int
    lr: float
    batch_size: int = 32
    warmup: float = 0.06
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 1
    bf16: bool = True
    save_every: int = 150


def autocast(enabled: bool) -> contextlib.AbstractContextManager[object]:
    """bfloat16 autocast on the CPU, or nothing."""
    return torch.autocast("cpu", torch.bfloat16) if enabled else contextlib.nullcontext()


@torch.no_grad()
def predict(model: nn.Module, data: Encoded, size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 logits [N, labels] and labels [N], shortest text first."""
    was_training = model.training
    model.eval()
    logits, labels = [], []
    for batch in data.batches(size):
        logits.append(model(batch.ids, batch.mask).logits.float())
        labels.append(batch.labels)
    model.train(was_training)
    return torch.cat(logits), torch.cat(labels)


def accuracy(model: nn.Module, data: Encoded) -> float:
    """Share of texts with the right arg-max class, in float32."""
    logits, labels = predict(model, data)
    return (logits.argmax(-1) == labels).double().mean().item()


def optimiser(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; vectors (biases, LayerNorm) get no weight decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.lr, foreach=True)


def rate(step: int, total: int, warmup: float) -> float:
    """Factor on the learning rate: linear warm-up, then linear decay to 2 %."""
    rise = max(1, math.ceil(total * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.02 + 0.98 * (total - step) / max(1, total - rise)


class Journal:
    """JSON-lines log that also sends each record to the ``logging`` module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, **record: object) -> None:
        """Append one record."""
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record) + "\n")
        LOG.info(" ".join(f"{k}={v}" for k, v in record.items()))


def _save(folder: Path, model: nn.Module, opt: torch.optim.Optimizer, state: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "last.safetensors.tmp")
    torch.save({"opt": opt.state_dict(), "rng": torch.get_rng_state()}, folder / "last.pt.tmp")
    (folder / "last.json.tmp").write_text(json.dumps(state))
    for name in ("last.safetensors", "last.pt", "last.json"):
        (folder / f"{name}.tmp").replace(folder / name)


def fit(
    model: nn.Module,
    data: Encoded,
    loss_of: Callable[[Batch], tuple[torch.Tensor, dict[str, float]]],
    score_of: Callable[[], dict[str, float]],
    plan: Plan,
    folder: Path,
    resume: bool = False,
) -> dict:
    """Train ``model`` in place and leave it at its best epoch.

    The best epoch has the highest ``score`` in the dictionary that ``score_of`` returns.
    ``folder`` receives ``last.*`` (resumable), ``best.safetensors``, ``log.jsonl`` and, at the
    end, ``done.json``.  With ``resume``, an interrupted or finished stage continues from there.
    """
    done = folder / "done.json"
    if resume and done.exists():
        model.load_state_dict(load_file(folder / "best.safetensors"))
        return json.loads(done.read_text())
    torch.manual_seed(plan.seed)
    opt = optimiser(model, plan)
    state = {"epoch": 0, "step_in_epoch": 0, "seconds": 0.0, "best": -math.inf, "curve": []}
    if resume and (folder / "last.json").exists():
        state = json.loads((folder / "last.json").read_text())
        model.load_state_dict(load_file(folder / "last.safetensors"))
        saved = torch.load(folder / "last.pt", weights_only=True)
        opt.load_state_dict(saved["opt"])
        torch.set_rng_state(saved["rng"])
    journal = Journal(folder / "log.jsonl")
    per_epoch = math.ceil(len(data) / plan.batch_size)
    total = per_epoch * plan.epochs
    trainable = [p for p in model.parameters() if p.requires_grad]
    mark, sums, count = time.monotonic(), {}, 0
    for epoch in range(state["epoch"], plan.epochs):
        model.train()
        rows = data.epoch_rows(plan.batch_size, plan.seed, epoch)
        for index in range(state["step_in_epoch"], len(rows)):
            factor = rate(epoch * per_epoch + index, total, plan.warmup)
            for group in opt.param_groups:
                group["lr"] = plan.lr * factor
            with autocast(plan.bf16):
                loss, parts = loss_of(data.collate(rows[index]))
            opt.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(trainable, plan.clip)
            if torch.isfinite(norm):
                opt.step()
            for name, value in {"loss": loss.item(), "norm": norm.item(), **parts}.items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            if count == 50 or index + 1 == len(rows):
                means = {k: round(v / count, 4) for k, v in sums.items()}
                spent = round(state["seconds"] + time.monotonic() - mark, 1)
                journal.write(epoch=epoch, step=index + 1, of=len(rows), s=spent, **means)
                sums, count = {}, 0
            if (index + 1) % plan.save_every == 0 and index + 1 < len(rows):
                state["seconds"] += time.monotonic() - mark
                mark = time.monotonic()
                _save(folder, model, opt, {**state, "step_in_epoch": index + 1})
        scores = score_of()
        state["seconds"] += time.monotonic() - mark
        mark = time.monotonic()
        point = {"epoch": epoch + 1, **scores, "seconds": round(state["seconds"], 1)}
        state["curve"].append(point)
        journal.write(**point)
        if scores["score"] >= state["best"]:
            state["best"] = scores["score"]
            folder.mkdir(parents=True, exist_ok=True)
            save_file(model.state_dict(), folder / "best.safetensors")
        state.update(epoch=epoch + 1, step_in_epoch=0)
        _save(folder, model, opt, state)
    model.load_state_dict(load_file(folder / "best.safetensors"))
    result = {"plan": asdict(plan), **state}
    done.write_text(json.dumps(result, indent=1))
    return result
