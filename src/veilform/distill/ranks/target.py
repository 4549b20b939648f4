"""What the rows of one batch should give, and the loss of some of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from veilform.distill.examples import UNLABELLED
from veilform.distill.losses import label_loss, logit_loss
from veilform.distill.trainer import Weights


@dataclass(frozen=True)
class Target:
    """A whole batch's labels [B] and, with a teacher, its logits [B, C].

    A language model's labels are its tokens [B, T], or -100; a position predicts the next one.

    Losses are means over the batch. A micro-batch gives its share of them, so shares add up to the
    loss of one process whatever rows are unlabelled, and rows that only fill up weigh nothing.
    """

    weights: Weights
    labels: torch.Tensor
    logits: torch.Tensor | None = None

    def share(self, output: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The part of the batch's loss that is due to ``rows`` [b], whose logits are [b, C].

        Numbers beyond the batch are filling.
        """
        real = rows < len(self.labels)
        output, rows = output[real].float(), rows[real]
        # Keeps a gradient, of zero, where all rows are filling or unlabelled.
        loss = output.sum() * 0.0
        if not len(rows):
            return loss
        if self.weights.logits:
            if self.logits is None:
                raise ValueError("this loss needs a teacher's logits")
            part = logit_loss(output, self.logits[rows]) * len(rows) / len(self.labels)
            loss = loss + self.weights.logits * part
        if self.weights.labels:
            labels, every = self.labels[rows], self.labels
            if output.dim() == 3:
                output = output[:, :-1].flatten(0, 1)
                labels, every = labels[:, 1:].flatten(), every[:, 1:].flatten()
            known = self._known(labels, output)
            if known:
                part = label_loss(output, labels) * known / self._known(every, output)
                loss = loss + self.weights.labels * part
        return loss

    @staticmethod
    def _known(labels: torch.Tensor, output: torch.Tensor) -> int:
        """How many of the labels count: in regression all, else the known ones."""
        return len(labels) if output.shape[-1] == 1 else int((labels != UNLABELLED).sum())
