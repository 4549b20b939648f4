"""Sums and norms of gradients over the ranks of a plan."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this rank holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def settle(parameters: Iterable[nn.Parameter]) -> None:
    """Give every gradient the placement of its parameter.

    Sums over tensor-parallel ranks that autograd left open are taken here.
    """
    for parameter in parameters:
        grad = parameter.grad
        if isinstance(grad, DTensor) and grad.placements != parameter.placements:
            parameter.grad = grad.redistribute(placements=parameter.placements)


def sum_replicas(parameters: Iterable[nn.Parameter], mesh: DeviceMesh) -> None:
    """Add the gradients of all replicas, once, in one message.

    Explicit, not DDP: micro-batches' shares of the loss add up (see ``Target``), so gradients are
    summed after the last of them, where DDP would average, and would need plain tensors.
    """
    grads = [local(p.grad) for p in parameters if p.grad is not None]
    if mesh.size() == 1 or not grads:
        return
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    dist.all_reduce(flat, group=mesh.get_group())
    for grad, total in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(total.view_as(grad))


def clip(
    parameters: Iterable[nn.Parameter],
    mesh: DeviceMesh,
    limit: float,
    twice: nn.Parameter | None = None,
) -> float:
    """Scale gradients to a global norm of at most ``limit``; returns the norm before.

    As ``torch.nn.utils.clip_grad_norm_`` on one process: a tensor that tensor-parallel ranks share
    counts by its shards, one that all of them hold counts on the first. ``twice`` is a parameter
    that another part holds and counts.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    first = mesh.get_local_rank("tp") == 0
    device = grads[0].device if grads else torch.device(mesh.device_type)
    square = torch.zeros((), dtype=torch.float64, device=device)
    for grad in grads:
        shared = isinstance(grad, DTensor) and any(type(p) is Shard for p in grad.placements)
        counted = twice is None or grad is not twice.grad
        if counted and (shared or first):
            square += local(grad).double().square().sum()
    # Replicas hold the same gradients: the sum over all ranks counts each dp times.
    dist.all_reduce(square)
    norm = float((square / mesh["dp"].size()).sqrt())
    scale = min(1.0, limit / (norm + 1e-6))
    for grad in grads:
        local(grad).mul_(scale)
    return norm
