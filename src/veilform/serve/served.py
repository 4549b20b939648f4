"""The models that a server offers, each with its masked weights; exchanged while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from veilform.correlation.manifest import Manifest
from veilform.correlation.weights import dealer_bytes
from veilform.errors import InputError, ProtocolError
from veilform.models.sides import ServerSide, Shape
from veilform.serve import messages as say
from veilform.serve.masking import Masking, new_masking
from veilform.serve.segments import DEALING_S
from veilform.transport import Channel


class Served:
    """One model, and the masked weights that its clients' stocks are dealt with.

    One set of masked weights: their common part goes to every client of the model.
    """

    def __init__(self, side: ServerSide, masking: Masking) -> None:
        self.side = side
        self.weights, self.seed = masking
        self._registering = threading.Lock()

    def manifest(self, shape: Shape, digest: str) -> Manifest:
        """What a run takes.

        Raises:
            ProtocolError: the client derives another manifest, with this digest.
        """
        manifest = self.side.manifest(shape, self.weights)
        if manifest.digest != digest:
            raise ProtocolError(
                "client and server derive different manifests; install the same release on both "
                "sides, and export the client's folder again"
            )
        return manifest

    def see_to(self, dealer: Channel) -> None:
        """Sees to it that a dealer holds the masked weights.

        Raises:
            InputError: they are over the limit.
        """
        with self._registering:  # what a new dealer needs goes to it once
            dealer.send_control(say.Probe(say.PROTOCOL, self.weights))
            if not dealer.receive_control(say.Probed).known:
                self._register(dealer)

    def _register(self, dealer: Channel) -> None:
        shapes = self.side.weight_shapes
        total = dealer_bytes(shapes)
        if total > say.MOST_WEIGHT_BYTES:
            raise InputError(
                f"weights of {total} bytes are over the limit of {say.MOST_WEIGHT_BYTES}"
            )
        dealer.send_control(
            say.Register(say.PROTOCOL, self.weights, shapes), limit=say.MOST_MANIFEST_BYTES
        )
        for masked in self.side.masked(self.seed):
            dealer.send_bulk([memoryview(masked).cast("B")], masked.nbytes)
        dealer.receive_control(say.Registered, timeout_s=DEALING_S)


class Models:
    """What a server offers, by the models' digests.

    A client keeps the model that it came for until it leaves, whatever is offered since.

    Args:
        masking: the masked weights of each; new ones of this process, or kept ones.
    """

    def __init__(
        self,
        sides: Iterable[ServerSide],
        masking: Callable[[ServerSide], Masking] = new_masking,
    ) -> None:
        self._offered: dict[str, Served] = {}
        self._masking = masking
        self.offer([self.made(side) for side in sides])

    def made(self, side: ServerSide) -> Served:
        """A model with its masked weights, ready to be offered.

        Raises:
            InputError: these cannot be kept.
        """
        return Served(side, self._masking(side))

    def offer(self, served: Iterable[Served]) -> None:
        """Offers these from now on, and no others.

        Raises:
            InputError: a model is given twice.
        """
        offered: dict[str, Served] = {}
        for one in served:
            if one.side.model in offered:
                raise InputError(f"{one.side.folder} is served already; give each model once")
            offered[one.side.model] = one
        self._offered = offered

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._offered.values()))

    def of(self, digest: str) -> Served:
        """The model of this digest.

        Raises:
            ProtocolError: it is not offered.
        """
        served = self._offered.get(digest)
        if served is None:
            raise ProtocolError(
                "the client's model is not one that is served here; get the client's folder from "
                "this server's operator (veilform export)"
            )
        return served
