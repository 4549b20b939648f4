"""A convolution network under secure computation: the program that both parties run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from veilform.approx.entry import Elementwise
from veilform.approx.tanh import ENTRY as TANH
from veilform.models.vision.compile import HEAD, ServerWeights, identity, weight_shapes
from veilform.models.vision.network import Network, Step
from veilform.models.vision.scaling import PIXEL, StepScales, VisionScales
from veilform.nn.pool import max_pool, sum_pixels
from veilform.nn.scales import LOGIT
from veilform.protocol.compare import clipped_relu, relu
from veilform.protocol.effects import Protocol
from veilform.protocol.linear import Product, linear
from veilform.protocol.opening import raised
from veilform.protocol.party import Party
from veilform.protocol.share import preshare, reveal
from veilform.protocol.truncate import drop
from veilform.ring import Words, extend
from veilform.roles import CLIENT
from veilform.shapes import Abstract
from veilform.values import Additive, Array, Preshared, Weight


class Answer(NamedTuple):
    """The client's: logits (B, classes), or an image (B, H, W, C), at scale LOGIT.

    ``flag`` is 0: nothing leaves its range.
    """

    logits: Array
    flag: Array


@dataclass(frozen=True)
class SecureNetwork:
    """The program of one network.

    Attributes:
        batch: images a run.
    """

    network: Network
    scales: VisionScales
    batch: int = 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the images, (B, H, W, C)."""
        return (self.batch, *self.network.image)

    @property
    def constants(self) -> Sequence[Words]:
        """What both parties compute in floating point: sides that differ in a bit must not run."""
        if self.network.steps[-1].activation != "tanh":
            return ()
        return TANH.constants(_tangent(self.scales.steps[-1]))

    def abstract(self, me: Party) -> Protocol[Answer | None]:
        """The program on shapes, for a trace."""
        images = Abstract(self.input_shape) if me.role is CLIENT else None
        return self.run(me, images, None)

    def client(self, images: Array) -> Callable[[Party], Protocol[Answer | None]]:
        """The client's program, for images at scale PIXEL."""
        return lambda me: self.run(me, images, None)

    def server(self, weights: ServerWeights) -> Callable[[Party], Protocol[Answer | None]]:
        """The server's program."""
        return lambda me: self.run(me, None, weights)

    def run(
        self, me: Party, images: Array | None, server: ServerWeights | None
    ) -> Protocol[Answer | None]:
        """One run. Returns the answer at the client and None at the server."""
        shapes = weight_shapes(self.network, self.scales)

        def weight(name: str) -> Weight:
            return Weight(name, shapes[name], None if server is None else server.weights[name])

        def bias(name: str) -> Array | None:
            return None if server is None else server.biases[name]

        me.begin("image")
        mine = me.zeros(self.input_shape) if images is None else images
        wires = [(yield from preshare(me, Additive(mine, self.scales.input)))]
        for step, at in zip(self.network.steps, self.scales.steps, strict=True):
            me.begin("linear")
            products: list[Product] = []
            for branch, tile in zip(step.branches, at.tiles, strict=True):
                x = wires[branch.source]
                for view in branch.before:
                    x = x.view(view)
                if branch.conv is None:
                    made = [Product(x, weight(identity(step.name)))]
                else:
                    made = branch.conv.products(x, branch.weights, weight, tile)
                products += [each._replace(then=(*each.then, *branch.after)) for each in made]
            total = yield from linear(me, products, at.ring, bias(step.name))
            me.begin("activation" if step.activation != "none" else "linear")
            x = drop(me, total, at.shift)
            if step.activation == "tanh":
                return (yield from _shown(me, (yield from _tanh(me, x, at))))
            wires.append((yield from _finish(me, step, at, x)))
        me.begin("head")
        head = self.scales.head
        assert head is not None
        pooled = sum_pixels(wires[-1])
        logits = yield from linear(me, [(pooled, weight(HEAD))], head.ring, bias(HEAD))
        return (yield from _shown(me, drop(me, logits, head.shift)))


def _shown(me: Party, x: Additive | Preshared) -> Protocol[Answer | None]:
    shown = yield from reveal(me, x)
    return None if shown is None else Answer(extend(shown, x.bits), me.zeros(x.shape))


def _tanh(me: Party, x: Preshared, at: StepScales) -> Protocol[Additive]:
    """At scale LOGIT."""
    assert TANH.secure is not None
    assert x.bits == at.ring - at.shift
    return (yield from TANH.secure(me, x, _tangent(at), []))


def _tangent(at: StepScales) -> Elementwise:
    return Elementwise(PIXEL, at.ring - at.shift - PIXEL - 2, LOGIT, at.output)


def _finish(me: Party, step: Step, at: StepScales, x: Preshared) -> Protocol[Preshared]:
    """From a step's sum to its wire: activation, pool, and the ring of what comes next."""
    if step.activation == "none" and at.output <= x.bits:
        return x.narrowed(at.output)
    wide = max(at.output, x.bits)
    result: Additive
    if step.activation == "none":
        result = yield from raised(me, x, wide)
    elif step.pool is not None:
        active = yield from _clip(me, x, at.top, x.bits)
        me.begin("pool")
        pooled = yield from max_pool(me, active.narrowed(at.pooled), step.pool)
        result = yield from raised(me, pooled, at.output)
    else:
        result = yield from _clip(me, x, at.top, wide)
    return (yield from preshare(me, result.narrowed(at.output)))


def _clip(me: Party, x: Preshared, top: int, bits: int) -> Protocol[Additive]:
    if top:
        return (yield from clipped_relu(me, x, top, bits))
    return (yield from relu(me, x, bits))
