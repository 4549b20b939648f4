"""A linear layer that multiplies small integers, forward and backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from torch.autograd.function import once_differentiable

from veilform.errors import InputError
from veilform.quant import lsq
from veilform.quant.arithmetic import FOUR, Integers, backward, eight_bits
from veilform.quant.hadamard import choose, groups, transform
from veilform.quant.policy import LayerPolicy
from veilform.quant.products import product


class _Quantised(torch.autograd.Function):
    """y = s_x s_w q(x H) q(w H)^T + b for x (N, K), w (M, K)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        w: torch.Tensor,
        bias: torch.Tensor | None,
        step_x: torch.Tensor,
        step_w: torch.Tensor,
        policy: LayerPolicy,
        group: int,
    ) -> torch.Tensor:
        ctx.policy, ctx.group = policy, group
        turned_x, turned_w = transform(x, group), transform(w, group)
        if policy.method == "int8":
            left, right = eight_bits(x), eight_bits(w)
        else:
            left = Integers(
                lsq.quantise(turned_x, lsq.positive(step_x)), lsq.positive(step_x), FOUR
            )
            right = Integers(
                lsq.quantise(turned_w, lsq.positive(step_w)), lsq.positive(step_w), FOUR
            )
        ctx.save_for_backward(
            turned_x, turned_w, step_x, step_w, left.q, left.step, right.q, right.step
        )
        y = product(left.q, right.q, left.most * right.most) * (left.step * right.step)
        return y if bias is None else y + bias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, w, step_x, step_w, qx, sx, qw, sw = ctx.saved_tensors
        policy, group, needs = ctx.policy, ctx.group, ctx.needs_input_grad
        eight = policy.method == "int8"
        most = 127 if eight else FOUR
        learns = not eight and (needs[3], needs[4])
        wanted = (needs[0] or bool(learns and learns[0]), needs[1] or bool(learns and learns[1]))
        g = gradient.contiguous().float()
        with torch.autocast(g.device.type, enabled=False):
            by_x, by_w = backward(
                policy.method, g, Integers(qx, sx, most), Integers(qw, sw, most), wanted,
                policy.keep,
            )  # fmt: skip
            by_step_x = by_step_w = None
            if not eight:
                if by_x is not None:
                    by_x, by_step_x = lsq.gradients(by_x, x, step_x)
                    by_x = transform(by_x, group)
                if by_w is not None:
                    by_w, by_step_w = lsq.gradients(by_w, w, step_w)
                    by_w = transform(by_w, group)
            by_bias = g.sum(0) if needs[2] else None
        return by_x, by_w, by_bias, by_step_x, by_step_w, None, None


class Int4Linear(nn.Linear):
    """``nn.Linear`` by one of the methods of ``policy.METHODS``; parameters stay float32.

    Two more parameters, ``step_x`` and ``step_w``, learn (take no weight decay on them). The block
    size and the first steps come from the first batch; ``group`` is 0 until then, and 1 without a
    Hadamard transform.

    Raises:
        InputError: the policy's group does not divide the inputs, or no power of two does.
    """

    group: torch.Tensor

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True,
        policy: LayerPolicy | None = None, device: torch.device | str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, device=device)
        self.policy = policy or LayerPolicy()
        if self.policy.method.startswith("hq"):
            check_group(in_features, self.policy.group)
        self.step_x = nn.Parameter(torch.ones((), device=device))
        self.step_w = nn.Parameter(torch.ones((), device=device))
        self.register_buffer("group", torch.zeros((), dtype=torch.int64, device=device))
        self._group = 0

    @classmethod
    def of(cls, linear: nn.Linear, policy: LayerPolicy) -> Int4Linear:
        """A layer with the parameters of another, shared with it."""
        out = cls(
            linear.in_features, linear.out_features, linear.bias is not None, policy,
            linear.weight.device,
        )  # fmt: skip
        out.weight, out.bias = linear.weight, linear.bias
        out.train(linear.training)
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """y (..., out_features) of x (..., in_features), in x's dtype."""
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, self.in_features).float()
            if not rows.numel():
                return x.new_empty(*x.shape[:-1], self.out_features)
            group = self._ready(rows)
            y = _Quantised.apply(
                rows, self.weight, self.bias, self.step_x, self.step_w, self.policy, group
            )
        return y.reshape(*x.shape[:-1], self.out_features).to(x.dtype)

    @torch.no_grad()
    def rounded_weight(self) -> torch.Tensor:
        """The float weights (M, K) that the products use, in the layer's own basis."""
        group = int(self.group)
        if not group:
            return self.weight.detach().clone()
        if self.policy.method == "int8":
            q, step, _ = eight_bits(self.weight)
            return q * step
        step = lsq.positive(self.step_w)
        return transform(lsq.quantise(transform(self.weight, group), step) * step, group)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, method={self.policy.method}, group={int(self.group)}"

    @torch.no_grad()
    def _ready(self, rows: torch.Tensor) -> int:
        """The block size; chosen, and the steps with it, by the first rows ever."""
        if self._group:
            return self._group
        self._group = int(self.group)
        if not self._group:
            group = 1
            if self.policy.method.startswith("hq"):
                group = self.policy.group or choose(rows, self.weight)
            self.step_x.copy_(lsq.initial_step(transform(rows, group)))
            self.step_w.copy_(lsq.initial_step(transform(self.weight, group)))
            self.group.fill_(group)
            self._agree()
            self._group = int(self.group)
        return self._group

    def _agree(self) -> None:
        """Data parallel processes see different first batches: the first one's counts."""
        if distributed.is_available() and distributed.is_initialized():
            for tensor in (self.step_x.data, self.step_w.data, self.group):
                distributed.broadcast(tensor, 0)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._group = 0  # read again from what was loaded


def check_group(size: int, group: int) -> None:
    """Raise InputError unless blocks of ``group`` (0: of some size) fill a dimension ``size``."""
    found = groups(size)
    if group and group not in found:
        raise InputError(f"blocks of {group} do not divide the dimension {size}: use one of "
                         f"{', '.join(map(str, found))}")  # fmt: skip
