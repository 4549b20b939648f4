"""Observed ranges of the quantities whose size decides the cost of private inference."""

from __future__ import annotations

import torch

from .data import Encoded
from .losses import RangeProbe
from .student import BertMeanPoolForSequenceClassification


class Extremes:
    """Running minimum, maximum and pooled sample of a positive quantity."""

    def __init__(self) -> None:
        self.low, self.high = float("inf"), 0.0
        self.sample: list[torch.Tensor] = []

    def add(self, values: torch.Tensor) -> None:
        """Include a tensor of any shape."""
        self.low = min(self.low, values.min().item())
        self.high = max(self.high, values.max().item())
        self.sample.append(values.flatten()[:: max(1, values.numel() // 2000)])

    def summary(self) -> dict[str, float]:
        """``min``, ``max`` and the 0.1 % and 99.9 % quantiles (of the sample)."""
        pooled = torch.cat(self.sample).sort().values
        at = [int(q * (len(pooled) - 1)) for q in (0.001, 0.999)]
        values = {"min": self.low, "p0.1": pooled[at[0]], "p99.9": pooled[at[1]], "max": self.high}
        return {k: float(f"{float(v):.4g}") for k, v in values.items()}


@torch.no_grad()
def observe(
    model: BertMeanPoolForSequenceClassification, data: Encoded, size: int = 64
) -> list[dict[str, dict[str, float]]]:
    """Per layer, over all valid tokens of ``data``.

    ``row_mean``: mean over valid keys of (s + 5)^2; ``attention_variance`` and ``ffn_variance``:
    variance of the two LayerNorm inputs; ``quad_input``: absolute FFN pre-activation.
    """
    model.eval()
    probe = RangeProbe(model)
    layers = model.bert.encoder.layer
    names = ("row_mean", "attention_variance", "ffn_variance", "quad_input")
    found = [{name: Extremes() for name in names} for _ in layers]
    inputs: list[torch.Tensor] = []
    hooks = [
        layer.intermediate.dense.register_forward_hook(lambda _m, _i, out: inputs.append(out))
        for layer in layers
    ]
    for batch in data.batches(size):
        probe.clear()
        inputs.clear()
        model(batch.ids, batch.mask)
        valid = batch.mask.bool()
        for index, extremes in enumerate(found):
            extremes["row_mean"].add(probe.row_means[index].transpose(1, 2)[valid])
            extremes["attention_variance"].add(probe.variances["attention"][index][valid])
            extremes["ffn_variance"].add(probe.variances["ffn"][index][valid])
            extremes["quad_input"].add(inputs[index][valid].abs())
    probe.remove()
    for hook in hooks:
        hook.remove()
    return [{name: e.summary() for name, e in extremes.items()} for extremes in found]
