"""What each function costs in a layer of a model: by runs of one and of two layers of its shape.

The second layer is what a layer adds. Weights are random, so rings may differ by a bit from those
of a trained model's; the functions, widths, heads and lengths are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from veilform.approx import registry
from veilform.approx.entry import Activation
from veilform.models.bert.sides import ServerSide
from veilform.models.sides import Shape
from veilform.models.text import bucket
from veilform.plan.presets import ModelShape
from veilform.plan.private.budget import Choice
from veilform.plan.private.change import change
from veilform.plan.private.clocks import run_seconds
from veilform.plan.private.machine import Machine
from veilform.plan.private.rehearse import rehearse
from veilform.plan.random_model import random_side
from veilform.transport.links import Link


class Where(NamedTuple):
    """On what a model is to run."""

    machine: Machine
    link: Link
    length: int
    batch: int = 1
    apart: bool = False


def seconds(side: ServerSide, where: Where) -> float:
    """Online, of a model."""
    program = side.program(Shape(where.batch, bucket(where.length)))
    steps = rehearse(program.abstract)
    return run_seconds(steps, where.machine, where.link, apart=where.apart).seconds


def served() -> tuple[list[str], list[str]]:
    """Names of the activations and of the attentions that have a protocol."""
    entries = [entry for entry in registry.ENTRIES.values() if entry.secure is not None]
    activations = [entry.name for entry in entries if isinstance(entry, Activation)]
    attentions = [entry.name for entry in entries if not isinstance(entry, Activation)]
    # The hyperbolic tangent is for heads.
    return sorted(set(activations) - {"tanh"}), sorted(attentions)


def choices(
    shape: ModelShape, where: Where, progress: Callable[[str], None] = lambda step: None
) -> tuple[float, list[list[Choice]]]:
    """Seconds around the layers, and each layer's choices.

    What an activation adds to a layer does not depend on the attention before it, nor the other
    way round; so each is tried beside the fastest of the other kind.
    """
    activations, attentions = served()
    alone = shape.with_functions("quad", "2quad").with_layers(1)

    def layer(activation: str, attention: str) -> tuple[float, float]:
        progress(f"counting a layer with {activation} and {attention}")
        mixed = alone.with_functions(activation, attention)
        one, two = (
            seconds(random_side(mixed.with_layers(layers), where.length), where)
            for layers in (1, 2)
        )
        return one, two - one

    one, least = layer("quad", "2quad")
    extra = {name: layer(name, "2quad")[1] - least for name in activations if name != "quad"}
    extra |= {name: layer("quad", name)[1] - least for name in attentions if name != "2quad"}
    extra |= {"quad": 0.0, "2quad": 0.0}

    def of_layer(own: tuple[str, str]) -> Iterator[Choice]:
        for activation in activations:
            for attention in attentions:
                moved = change(own[0], activation, where.length)
                moved += change(own[1], attention, where.length)
                took = least + extra[activation] + extra[attention]
                yield Choice(activation, attention, took, moved)

    return one - least, [list(of_layer(own)) for own in shape.functions]
