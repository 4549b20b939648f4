"""Closed-form start for a student: least-squares Quad per neuron, centred keys for 2Quad.

Replacing gelu by Quad and softmax by 2Quad in the teacher's weights destroys its function.  Both
functions leave freedom that folds exactly into neighbouring weights, and it is used here:

* FFN: for each neuron, gelu(x) is fitted by p2 x^2 + p1 x + p0 on the teacher's pre-activations.
  With c = 8 p2 and b = p1 / (2 p2) - 1, c Quad(x + b) + d is that polynomial; b goes to the first
  bias, c to the columns of the second matrix and d through it to the second bias.
* Attention: softmax does not change when the mean key is subtracted (a constant per row), 2Quad
  does, so keys are centred (into the key bias) and the query of each head is scaled by the factor
  with the smallest error of the attention output.
"""

from __future__ import annotations

import torch
from torch import nn

from veilform.approx import registry
from veilform.distill.anatomy import LayerParts, layers
from veilform.distill.student import per_layer

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
SMALLEST_CURVATURE = 0.02
two_quad = registry.attention("2quad").plain


def fit_quadratic(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Least squares y = p2 x^2 + p1 x + p0 per column of [N, F], with p2 >= SMALLEST_CURVATURE."""
    x, y = x.double(), y.double()
    mean, spread = x.mean(0), x.std(0).clamp_min(1e-3)
    z = (x - mean) / spread
    square = z * z
    powers = (z, square, square * z, square * square)
    moments = [torch.ones_like(mean), *(power.mean(0) for power in powers)]
    gram = torch.stack([torch.stack([moments[4 - i - j] for j in range(3)]) for i in range(3)])
    gram = gram.permute(2, 0, 1) + 1e-6 * torch.eye(3, dtype=x.dtype)
    right = torch.stack([(square * y).mean(0), (z * y).mean(0), y.mean(0)], dim=-1)
    p2 = torch.linalg.solve(gram, right)[:, 0] / spread.square()
    p2 = p2.clamp_min(SMALLEST_CURVATURE)
    rest = y - p2 * x * x
    centred = x - mean
    p1 = (centred * rest).mean(0) / spread.square()
    p0 = rest.mean(0) - p1 * mean
    return p2.float(), p1.float(), p0.float()


@torch.no_grad()
def fold_ffn(layer: LayerParts, x: torch.Tensor) -> None:
    """Fold the fit on pre-activations ``x`` [N, F] into one student layer's FFN weights."""
    p2, p1, p0 = fit_quadratic(x, nn.functional.gelu(x))
    c, shift = 8.0 * p2, p1 / (2.0 * p2)
    d = p0 - c * shift.square() / 8.0 - 0.375 * c
    layer.second.bias += layer.second.weight @ d
    layer.second.weight *= c
    layer.first.bias += shift - 1.0


@torch.no_grad()
def fold_attention(
    layer: LayerParts, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Centre keys and scale queries of one student layer; returns the factor of each head.

    ``q, k, v`` are the teacher's projections [B, H, T, d]; ``mask`` is [B, T], 1 = valid.
    """
    visible = mask[:, None, None, :].bool()
    weight = mask[:, None, :, None].float()
    mean = (k * weight).sum((0, 2)) / weight.sum()
    scale = q.shape[-1] ** -0.5
    scores = q @ k.transpose(2, 3) * scale
    target = scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v
    centred = q @ (k - mean[None, :, None, :]).transpose(2, 3) * scale
    errors = []
    for factor in FACTORS:
        error = (two_quad(factor * centred, visible) @ v - target).square() * weight
        errors.append(error.sum((0, 2, 3)))
    best = torch.tensor(FACTORS)[torch.stack(errors).argmin(0)]
    head = q.shape[-1]
    layer.key.bias -= mean.reshape(-1)
    layer.query.weight *= best.repeat_interleave(head)[:, None]
    layer.query.bias *= best.repeat_interleave(head)
    return best


def observe_layer(
    model: nn.Module, index: int, batches: list[dict[str, torch.Tensor]]
) -> dict[str, list[torch.Tensor]]:
    """Outputs of one layer's q, k, v projections and FFN pre-activations ("x") per batch."""
    parts = layers(model)[index]
    modules = {"q": parts.query, "k": parts.key, "v": parts.value, "x": parts.first}
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in modules}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, store=seen[name]: store.append(out))
        for name, module in modules.items()
    ]
    for batch in batches:
        model(**{name: value for name, value in batch.items() if name != "labels"})
    for hook in hooks:
        hook.remove()
    return seen


def join(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Concatenate [B, T, ...] tensors of different T, padding T with zeros."""
    width = max(t.shape[1] for t in tensors)
    padded = []
    for tensor in tensors:
        space = tensor.new_zeros(tensor.shape[0], width - tensor.shape[1], *tensor.shape[2:])
        padded.append(torch.cat([tensor, space], dim=1))
    return torch.cat(padded)


def applies(student: nn.Module) -> bool:
    """Whether any layer has a function that the fits are for."""
    acts, attentions = per_layer(student.config)
    return "quad" in acts or "2quad" in attentions


@torch.no_grad()
def start_student(
    teacher: nn.Module, student: nn.Module, batches: list[dict[str, torch.Tensor]]
) -> None:
    """Fold both fits into a student that has the teacher's weights.

    ``batches`` hold ``input_ids`` and ``attention_mask``, and what else the teacher takes.
    """
    teacher.eval()
    mask = join([batch["attention_mask"] for batch in batches])
    heads = teacher.config.num_attention_heads
    acts, attentions = per_layer(student.config)
    for index, parts in enumerate(layers(student)):
        seen = {
            name: join(outputs) for name, outputs in observe_layer(teacher, index, batches).items()
        }
        q, k, v = (seen[name].unflatten(-1, (heads, -1)).transpose(1, 2) for name in "qkv")
        if acts[index] == "quad":
            fold_ffn(parts, seen["x"][mask.bool()])
        if attentions[index] == "2quad":
            fold_attention(parts, q, k, v, mask)
