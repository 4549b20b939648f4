"""The same model in the clear, in float32: PyTorch where it is installed, NumPy otherwise.

PyTorch is what a user would run, so it is the baseline of the published figures.
"""

from __future__ import annotations

import importlib.util
import math
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from veilform import kernels
from veilform.approx import registry
from veilform.models.bert import names
from veilform.models.bert.plain import PlainBert
from veilform.models.text import TokenBatch

Backend = Literal["torch", "numpy"]

MOST_PASSES = 9
ENOUGH_S = 0.3
"""Forward passes of each kind between two private runs: so many, or as many as take so long."""


def backend() -> Backend:
    """PyTorch if it is installed, else NumPy."""
    return "torch" if importlib.util.find_spec("torch") is not None else "numpy"


class Plain:
    """A checkpoint's forward pass, as the student that is served and as its teacher.

    The teacher has GELU and softmax in place of Quad and 2Quad, with the same weights.

    Args:
        backend: with "torch", as many threads as the kernels use; NumPy has its own setting, all
            cores as a rule.
    """

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.backend = backend
        student = PlainBert.load(folder)
        exact = msgspec.structs.replace(student.config, hidden_act="gelu", softmax_act="softmax")
        if backend == "torch":
            self._student: Any = TorchBert(student)
            self._exact: Any = TorchBert(PlainBert(exact, student.params))
        else:
            self._student = student
            self._exact = PlainBert(exact, student.params)

    def seconds(self, batch: TokenBatch) -> tuple[list[float], list[float]]:
        """Seconds of some forward passes: of the student, and of its teacher.

        One pass is short, and any other process's turn strikes it: so there are several.
        """
        return self._time(self._student, batch), self._time(self._exact, batch)

    def _time(self, model: Any, batch: TokenBatch) -> list[float]:
        seconds: list[float] = []
        model.forward(batch.ids, batch.mask, batch.types)  # caches hold the others' data
        while len(seconds) < MOST_PASSES and (not seconds or sum(seconds) < ENOUGH_S):
            start = time.perf_counter()
            model.forward(batch.ids, batch.mask, batch.types)
            seconds.append(time.perf_counter() - start)
        return seconds


class TorchBert:
    """`PlainBert` in PyTorch; shapes as there."""

    def __init__(self, model: PlainBert) -> None:
        import torch

        self._torch: Any = torch
        torch.set_num_threads(kernels.threads())
        self.config = model.config
        self._params = {name: torch.from_numpy(value) for name, value in model.params.items()}

    def forward(self, ids: Any, mask: Any, types: Any) -> Any:
        """Logits (B, L) as a NumPy array, from NumPy arrays (B, S)."""
        torch = self._torch
        with torch.inference_mode():
            mask_BS = torch.from_numpy(mask).float()
            x_BSD = self._embed(torch.from_numpy(ids), torch.from_numpy(types))
            for i in range(self.config.num_hidden_layers):
                x_BSD = self._layer(i, x_BSD, mask_BS)
            if self.config.pooling == "mean":
                weights_BS1 = mask_BS[..., None]
                pooled_BD = (x_BSD * weights_BS1).sum(1) / weights_BS1.sum(1)
            else:
                pooled_BD = torch.tanh(self._dense(x_BSD[:, 0], names.POOLER))
            return self._dense(pooled_BD, names.CLASSIFIER).numpy()

    def _embed(self, ids_BS: Any, types_BS: Any) -> Any:
        params = self._params
        positions_SD = params[names.POSITIONS][: ids_BS.shape[1]]
        sum_BSD = params[names.WORDS][ids_BS] + positions_SD + params[names.TYPES][types_BS]
        return self._norm(sum_BSD, names.EMBEDDING_NORM)

    def _layer(self, i: int, x_BSD: Any, mask_BS: Any) -> Any:
        def dense(part: str, value: Any) -> Any:
            return self._dense(value, names.layer(i, part))

        batch, length, _ = x_BSD.shape
        heads = self.config.num_attention_heads
        q_BHSE, k_BHSE, v_BHSE = (
            dense(part, x_BSD).view(batch, length, heads, -1).transpose(1, 2)
            for part in (names.QUERY, names.KEY, names.VALUE)
        )
        attention = self.config.attention(i)
        context_BHSE = self._attend(attention, q_BHSE, k_BHSE, v_BHSE, mask_BS[:, None, None, :])
        context_BSD = context_BHSE.transpose(1, 2).reshape(x_BSD.shape)
        out_BSD = dense(names.ATTENTION_OUT, context_BSD)
        x_BSD = self._norm(out_BSD + x_BSD, names.layer(i, names.ATTENTION_NORM))
        inner_BSI = dense(names.INNER, x_BSD)
        active_BSI = self._activate(self.config.activation(i), inner_BSI)
        out_BSD = dense(names.OUT, active_BSI)
        return self._norm(out_BSD + x_BSD, names.layer(i, names.OUT_NORM))

    def _activate(self, name: str, x: Any) -> Any:
        if name == "gelu":
            return self._torch.nn.functional.gelu(x)
        if name == "quad":
            return (x * 0.125 + 0.25) * x + 0.5
        return registry.activation(name).plain(x)

    def _attend(self, name: str, q_BHSE: Any, k_BHSE: Any, v_BHSE: Any, mask_B11S: Any) -> Any:
        if name == "softmax":
            return self._torch.nn.functional.scaled_dot_product_attention(
                q_BHSE, k_BHSE, v_BHSE, attn_mask=mask_B11S != 0
            )
        scores_BHSS = q_BHSE @ k_BHSE.transpose(-1, -2) / math.sqrt(self.config.head_size)
        if name != "2quad":
            return registry.attention(name).plain(scores_BHSS, mask_B11S) @ v_BHSE
        e_BHSS = (scores_BHSS + 5).square() * mask_B11S
        return e_BHSS @ v_BHSE / e_BHSS.sum(-1, keepdim=True)

    def _dense(self, x: Any, name: str) -> Any:
        params = self._params
        return self._torch.nn.functional.linear(x, params[name + ".weight"], params[name + ".bias"])

    def _norm(self, x: Any, name: str) -> Any:
        gain, bias = self._params[name + ".weight"], self._params[name + ".bias"]
        epsilon = self.config.layer_norm_eps
        return self._torch.nn.functional.layer_norm(x, gain.shape, gain, bias, epsilon)
