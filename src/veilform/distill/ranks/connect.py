"""Processes that ``torchrun`` started, as the ranks of a plan."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous

from veilform.distill.ranks.layout import Layout
from veilform.errors import InputError

AXES = ("pp", "dp", "tp")
TIMEOUT = timedelta(minutes=30)


def local_device() -> torch.device:
    """The device of this process: the accelerator numbered ``LOCAL_RANK``, or the CPU."""
    if not torch.accelerator.is_available():
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", "0"))
    torch.accelerator.set_device_index(index)
    return torch.device(torch.accelerator.current_accelerator().type, index)


def connect(layout: Layout) -> DeviceMesh:
    """Join the other processes; returns the mesh of all ranks with axes "pp", "dp" and "tp".

    A process started as number ``d`` becomes the rank that the plan places on device ``d``, and
    ``RANK`` says so from then on. Renumbering processes rather than entries of the mesh keeps every
    group's ranks in increasing order, which the pipeline and tensor sharding take for granted.
    A process group that is there already is taken as it is, whatever the placement says.

    Raises:
        InputError: there are not as many processes as the plan has ranks.
    """
    device = local_device()
    if not dist.is_initialized():
        _join(layout, device)
    if dist.get_world_size() != layout.world:
        raise InputError(_wrong_world(layout, dist.get_world_size()))
    sizes = (layout.pp, layout.dp, layout.tp)
    return init_device_mesh(device.type, sizes, mesh_dim_names=AXES)


def ends_of(mesh: DeviceMesh) -> dist.ProcessGroup | None:
    """The first and the last part's ranks of this rank's pipeline; None in between."""
    mine = None
    pairs = torch.stack([mesh.mesh[0], mesh.mesh[-1]], dim=-1).flatten(0, 1).tolist()
    for ranks in pairs if mesh["pp"].size() > 1 else []:
        # Every process takes part in making every group.
        group = dist.new_group(ranks)
        mine = group if dist.get_rank() in ranks else mine
    return mine


def _join(layout: Layout, device: torch.device) -> None:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != layout.world:
        raise InputError(_wrong_world(layout, world))
    backend = dist.get_default_backend_for_device(device)
    if "RANK" not in os.environ:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        return
    number = int(os.environ["RANK"])
    # The store is opened under the old number: torchrun serves it where number 0 is.
    store, _, _ = next(rendezvous("env://", number, world, timeout=TIMEOUT))
    rank = layout.rank_of(number)
    os.environ["RANK"] = str(rank)
    bound = None if device.type == "cpu" else device
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT, device_id=bound
    )


def _wrong_world(layout: Layout, world: int) -> str:
    return (
        f"the plan is for {layout.world} devices (tp {layout.tp} x dp {layout.dp} x "
        f"pp {layout.pp}), but {world} processes run: "
        f"start it with torchrun --nproc-per-node {layout.world}, or so many on all nodes"
    )
