"""A model over several devices as one program: whole batches in, losses and logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from veilform.distill.anatomy import embeddings
from veilform.distill.ranks import gradients, inner
from veilform.distill.ranks.connect import connect, ends_of, local_device
from veilform.distill.ranks.families import family_of
from veilform.distill.ranks.gather import gather
from veilform.distill.ranks.inner import InnerLosses, Probe, Recorder, Seen
from veilform.distill.ranks.layout import Layout
from veilform.distill.ranks.part import build_part
from veilform.distill.ranks.target import Target
from veilform.distill.trainer import Weights
from veilform.errors import InputError

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class _Shape:
    """What a schedule is made for: buffers between parts are allocated once."""

    count: int
    tokens: int
    learns: bool


class Program:
    """``model``, which is taken apart, run as ``layout`` says; every rank makes one alike.

    Every rank brings the same weights and the same batches, and all of them call the same methods
    in the same order.

    >>> program = Program(load_model("folder"), layout)  # doctest: +SKIP
    >>> optimizer = torch.optim.AdamW(program.groups(decay=0.01), lr=5e-5)  # doctest: +SKIP
    >>> program.train(seed, epoch)  # doctest: +SKIP
    >>> loss = program.step(batch); program.clip(1.0); optimizer.step()  # doctest: +SKIP

    Raises:
        InputError: the plan does not fit the model or the number of processes, or ranks brought
            different weights.
        ModelError: the model is of no family that distillation knows.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        layout: Layout,
        weights: Weights | None = None,
        bf16: bool = False,
    ) -> None:
        self.layout = layout
        self.mesh: DeviceMesh = connect(layout)
        self.device = local_device()
        self.weights = weights or Weights(labels=1.0)
        self._stock = type(model), model.config
        self.width = model.config.hidden_size
        self._check_same(model)
        self.family = family_of(model)
        self.outputs = model.config.vocab_size if self.family.is_causal else model.config.num_labels
        self.family.prepare(model)
        self._decayed = _decayed(model)
        self.part, self._places = build_part(model, self.family, layout, self.mesh, bf16)
        self.part.to(self.device)
        self._tied = self.family.tied(model) if layout.pp > 1 else None
        self._ends = ends_of(self.mesh)
        self._target: Target | None = None
        self._inner = self._inner_losses(model) if self.weights.inner else None
        self._schedules: dict[bool, tuple[_Shape, ScheduleGPipe | Schedule1F1B]] = {}

    def _check_same(self, model: nn.Module) -> None:
        """Refuse ranks that brought different weights: each cuts its part out of its own copy."""
        total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
        ends = torch.tensor([total, -total], dtype=torch.float64, device=self.device)
        dist.all_reduce(ends, op=dist.ReduceOp.MAX)
        if float(ends.sum()) > 1e-9 * total:
            raise InputError("the ranks brought different weights: load one folder, or seed alike")

    def groups(self, decay: float) -> list[dict]:
        """Parameter groups for an optimizer, weight decay on the matrices only.

        Sharded and plain tensors are apart: fused optimizers take no mixture.
        """
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.part.model.named_parameters():
            if parameter.requires_grad:
                key = name in self._decayed, isinstance(parameter, DTensor)
                groups.setdefault(key, []).append(parameter)
        return [
            {"params": params, "weight_decay": decay if decayed else 0.0}
            for (decayed, _), params in groups.items()
        ]

    def parameters(self) -> list[nn.Parameter]:
        """This rank's trainable parameters, in the same order on every replica."""
        return [p for p in self.part.parameters() if p.requires_grad]

    def _probe(self, model: PreTrainedModel) -> Probe:
        if self.family.is_causal:
            raise ValueError("language models learn from labels alone")
        return Probe(self.part.inside, embeddings(model) if self.part.first else None)

    def _inner_losses(self, model: PreTrainedModel) -> InnerLosses:
        losses = InnerLosses(
            self._probe(model), self.weights, self.part.first, model.config.num_hidden_layers,
            model.config.num_attention_heads, self.layout.tp,
        )  # fmt: skip
        self.part.after = losses
        return losses

    def step(
        self, batch: Batch, logits: torch.Tensor | None = None, seen: Sequence[Seen] = ()
    ) -> float:
        """Forward and backward of a whole batch; the loss, as one process would have it.

        Afterwards gradients are complete: those of earlier steps are dropped.

        Args:
            batch: ``input_ids``, ``attention_mask`` [B, T], ``labels`` [B] (of language models
                [B, T]); the same on all ranks.
            logits, seen: what a teacher's ``watch`` gave, where the weights ask for it; it has the
                same layout.
        """
        for parameter in self.parameters():
            parameter.grad = None
        labels = batch["labels"].to(self.device)
        self._target = Target(
            self.weights, labels, None if logits is None else logits.to(self.device)
        )
        if self._inner is not None:
            self._inner.start(self._inner_batch(batch, seen))
        losses: list[torch.Tensor] = []
        self._run(batch, learns=True, losses=losses)
        gradients.settle(self.parameters())
        gradients.sum_replicas(self.parameters(), self.mesh["dp"])
        if self._tied is not None and self._tied.requires_grad:
            dist.all_reduce(self._tied.grad, group=self._ends)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        first = self.mesh.get_local_rank("tp") == 0
        if losses and first:
            loss += torch.stack(losses).detach().double().sum()
        if self._inner is not None:
            loss += self._inner.own + (self._inner.same if first else 0.0)
        dist.all_reduce(loss)
        return float(loss)

    def _inner_batch(self, batch: Batch, seen: Sequence[Seen]) -> inner.Batch:
        mask = batch["attention_mask"]
        count, rows = len(mask), self._rows(len(mask))
        pairs = float(mask.sum(1).double().square().sum())
        powers = torch.ones(len(self.part.inside) + 1, dtype=torch.float64, device=self.device)
        if seen:
            valid = mask[rows.clamp(max=count - 1)].bool() & (rows < count)[:, None]
            powers = inner.power(seen, valid.to(self.device))
            dist.all_reduce(powers, group=self.mesh.get_group("dp"))
        return inner.Batch(rows.to(self.device), count, pairs, seen, powers)

    def clip(self, limit: float) -> float:
        """Scale gradients to a norm of ``limit`` over all parts and shards; the norm before."""
        twice = None if self.part.first else self._tied
        return gradients.clip(self.parameters(), self.mesh, limit, twice)

    @torch.no_grad()
    def predict(self, batch: Batch) -> torch.Tensor:
        """Logits of a whole batch on every rank, in evaluation mode.

        They are [B, C], of language models [B, T, C].
        """
        training = self.part.training
        self.part.eval()
        output, rows = self._run(batch, learns=False)
        self.part.train(training)
        count, tokens = batch["input_ids"].shape
        whole = torch.zeros(count + 1, *self._output(tokens), device=self.device)
        if output is not None and self.mesh.get_local_rank("tp") == 0:
            whole[rows.clamp(max=count)] = output
        dist.all_reduce(whole)
        return whole[:count]

    def watch(self, batch: Batch) -> tuple[torch.Tensor, list[Seen]]:
        """As ``predict``; and what this rank's part saw inside, micro-batch by micro-batch."""
        if self._inner is not None:
            raise ValueError("a program with losses inside cannot be a teacher too")
        if not isinstance(self.part.after, Recorder):
            self.part.after = Recorder(self._probe(self.part.model))
        recorder = self.part.after
        recorder.seen = seen = []
        logits = self.predict(batch)
        recorder.seen = None
        return logits, seen

    def train(self, *seed: int) -> None:
        """Training mode; dropout, where the config has it, is seeded by these numbers.

        Parts and replicas have streams of their own. Ranks that share a layer draw the same, or
        their activations would drift apart.
        """
        path = [*seed, self.mesh.get_local_rank("pp"), self.mesh.get_local_rank("dp")]
        torch.manual_seed(int(np.random.SeedSequence(path).generate_state(1)[0]))
        self.part.train()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The whole model's state under stock names, on the CPU of rank 0; empty elsewhere."""
        return self.family.restore(gather(self.part.model, self._places, self.mesh, self.device))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the whole model in Hugging Face's format; rank 0 does, all ranks call it."""
        state = self.state_dict()
        if dist.get_rank() == 0:
            stock, config = self._stock
            whole = stock(config)
            whole.load_state_dict(state)
            whole.save_pretrained(folder)
        dist.barrier()

    def _run(
        self, batch: Batch, learns: bool, losses: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """This replica's rows through the pipeline: the last part's logits, and which rows."""
        texts = {name: value for name, value in batch.items() if name != "labels"}
        count, tokens = texts["input_ids"].shape
        rows = self._rows(count)
        picked = rows.clamp(max=count - 1)
        texts = {name: value[picked].to(self.device) for name, value in texts.items()}
        given = (texts.pop("input_ids"),) if self.part.first else ()
        texts.pop("input_ids", None)
        rows = rows.to(self.device)
        schedule = self._schedule(_Shape(len(rows) // self.layout.micro_batch, tokens, learns))
        target = rows if learns and self.part.last else None
        output = schedule.step(
            *given, target=target, losses=losses, return_outputs=not learns, **texts
        )
        return output, rows

    def _rows(self, count: int) -> torch.Tensor:
        """The rows of a batch that this replica computes; numbers beyond ``count`` fill up."""
        each = -(-count // self.layout.rows) * self.layout.micro_batch
        start = self.mesh.get_local_rank("dp") * each
        return torch.arange(start, start + each)

    def _schedule(self, shape: _Shape) -> ScheduleGPipe | Schedule1F1B:
        """The schedule for batches of a shape; the last of each kind is kept.

        1F1B needs as many micro-batches as there are parts; with fewer, GPipe does the same work.
        """
        kept = self._schedules.get(shape.learns)
        if kept is not None and kept[0] == shape:
            return kept[1]
        rows, index = self.layout.micro_batch, self.mesh.get_local_rank("pp")
        hidden = torch.empty(
            rows, shape.tokens, self.width, device="meta", requires_grad=shape.learns
        )
        tokens = torch.empty(rows, shape.tokens, dtype=torch.long, device="meta")
        logits = torch.empty(
            rows, *self._output(shape.tokens), device="meta", requires_grad=shape.learns
        )
        stage = PipelineStage(
            self.part, index, self.layout.pp, self.device,
            input_args=tokens if self.part.first else hidden,
            output_args=logits if self.part.last else hidden,
            group=self.mesh.get_group("pp"),
        )  # fmt: skip
        alternates = shape.learns and shape.count >= self.layout.pp
        kind = Schedule1F1B if alternates else ScheduleGPipe
        schedule = kind(
            stage, shape.count, loss_fn=self._loss if shape.learns else None, scale_grads=False
        )
        self._schedules[shape.learns] = shape, schedule
        return schedule

    def _output(self, tokens: int) -> tuple[int, ...]:
        """The shape of one text's logits."""
        return (tokens, self.outputs) if self.family.is_causal else (self.outputs,)

    def _loss(self, output: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return self._target.share(output, rows)


def _decayed(model: nn.Module) -> set[str]:
    """Names of the parameters with weight decay: no biases, no layer norms, as the Trainer has."""
    norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for own, _ in module.named_parameters(recurse=False)
    }
    every = model.named_parameters(remove_duplicate=False)
    names = {name for name, _ in every if not name.endswith("bias")}
    return names - norms
