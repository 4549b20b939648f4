"""Nodes, their devices and the links between them; written in YAML."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError

BITS = 32
"""Of one element on a link: gradients are summed as float32; in the published model, all is."""
ACTIVATION_BITS = 16
"""Of an activation or its gradient on a link, in mixed precision."""


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Machines of equal devices.

    Attributes:
        device: the kind, as the profile names it.
        count: devices in the machine.
        inside_gbps: bandwidth between two devices of the machine, Gbit/s each way.
        between_gbps: of the machine's link to the others.
        memory_gb: of each device that training can use, 10^9 bytes; none: not limited.
        memory_gb_s: rate of a device's memory, 10^9 bytes a second; none: updating the weights
            counts as no time.
        copies: how many such machines follow one another.
    """

    device: str
    count: int
    inside_gbps: float
    between_gbps: float
    memory_gb: float | None = None
    memory_gb_s: float | None = None
    copies: int = 1


class _File(msgspec.Struct, forbid_unknown_fields=True):
    nodes: tuple[Node, ...]


class Cluster:
    """Machines in order; devices are numbered from 0 through all of them.

    Raises:
        InputError: no machine, or one without devices or with a bandwidth that is not positive.
    """

    def __init__(self, nodes: tuple[Node, ...] | list[Node]) -> None:
        for node in nodes:
            numbers = (node.count, node.copies, node.inside_gbps, node.between_gbps)
            optional = (each for each in (node.memory_gb, node.memory_gb_s) if each is not None)
            if not all(0 < each < np.inf for each in (*numbers, *optional)):
                raise InputError(
                    f"a node of {node.device} has a count, bandwidth or memory that is not positive"
                )
        self.nodes = tuple(node for node in nodes for _ in range(node.copies))
        if not self.nodes:
            raise InputError("a cluster needs at least one node")

    @property
    def size(self) -> int:
        """How many devices there are."""
        return len(self.node_of)

    @cached_property
    def node_of(self) -> NDArray[np.intp]:
        """Machine of each device."""
        return np.repeat(np.arange(len(self.nodes)), [node.count for node in self.nodes])

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of device, each once."""
        return tuple(dict.fromkeys(node.device for node in self.nodes))

    @cached_property
    def kind_of(self) -> NDArray[np.intp]:
        """Index in ``kinds`` of each device."""
        return np.array([self.kinds.index(self.nodes[n].device) for n in self.node_of])

    @cached_property
    def inside(self) -> NDArray[np.float64]:
        """Elements a second between two devices of each machine."""
        return np.array([node.inside_gbps for node in self.nodes]) * 1e9 / BITS

    @cached_property
    def between(self) -> NDArray[np.float64]:
        """Elements a second of each machine's link to the others."""
        return np.array([node.between_gbps for node in self.nodes]) * 1e9 / BITS

    @cached_property
    def memory(self) -> NDArray[np.float64]:
        """Bytes of each device; infinite where it is not limited."""
        limits = [node.memory_gb for node in self.nodes]
        return np.array([np.inf if each is None else each * 1e9 for each in limits])[self.node_of]

    @cached_property
    def memory_rate(self) -> NDArray[np.float64]:
        """Bytes a second of each device's memory; infinite where it is not known."""
        rates = [node.memory_gb_s for node in self.nodes]
        return np.array([np.inf if each is None else each * 1e9 for each in rates])[self.node_of]

    @cached_property
    def mixed(self) -> bool:
        """Whether its machines differ."""
        return len(set(self.nodes)) > 1

    def bandwidth(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """Elements a second from device to device: inside a machine, or the slower of two links."""
        here, there = self.node_of[one], self.node_of[other]
        across = np.minimum(self.between[here], self.between[there])
        return np.where(here == there, self.inside[here], across)

    def shares(self) -> dict[str, float]:
        """Part of the devices that each kind is."""
        return {
            kind: float(np.mean(self.kind_of == index)) for index, kind in enumerate(self.kinds)
        }

    @classmethod
    def load(cls, path: Path) -> Cluster:
        """Reads a YAML file: ``nodes``, a list of :class:`Node`.

        Raises:
            InputError: it cannot be read or does not have that form, or there is no PyYAML.
        """
        try:
            return cls(msgspec.yaml.decode(path.read_bytes(), type=_File).nodes)
        except ImportError:
            raise InputError("cluster files need PyYAML: pip install 'veilform[plan]'") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is no cluster file: {error}") from None
