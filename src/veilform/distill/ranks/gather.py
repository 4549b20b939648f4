"""The whole model's state from what the ranks hold."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from veilform.distill.ranks.part import Place


def gather(
    model: nn.Module, places: Mapping[str, Place], mesh: DeviceMesh, device: torch.device
) -> dict[str, torch.Tensor]:
    """Every tensor of ``places`` on the CPU of rank 0; nothing elsewhere.

    ``model`` is this rank's part. Tensors travel one by one, from the first replica.
    """
    held, whole = model.state_dict(), {}
    rank, part = dist.get_rank(), mesh.get_local_rank("pp")
    for name, place in places.items():
        source = int(mesh.mesh[place.part, 0, 0])
        value = None
        if part == place.part and mesh.get_local_rank("dp") == 0:
            value = held[name].detach()
            value = value.full_tensor() if isinstance(value, DTensor) else value
            if rank == source and rank != 0:
                dist.send(value.contiguous(), dst=0)
        if rank == 0:
            if source != 0:
                value = torch.empty(place.shape, dtype=place.dtype, device=device)
                dist.recv(value, src=source)
            whole[name] = value.cpu().clone()
    return whole
