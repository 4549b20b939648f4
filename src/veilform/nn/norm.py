"""Layer norm without its gain and bias, which the server folds into the weights that follow."""

from __future__ import annotations

import numpy as np

from veilform.masks import Centre
from veilform.nn.scales import NormScales
from veilform.protocol.effects import Protocol
from veilform.protocol.lookup import Checked, interpolate
from veilform.protocol.multiply import multiply, square
from veilform.protocol.opening import open_value
from veilform.protocol.party import Party
from veilform.protocol.share import preshare
from veilform.protocol.truncate import drop
from veilform.ring import WORD
from veilform.values import Additive, Preshared


def normalise(
    me: Party, x: Preshared, scales: NormScales, checks: list[Checked]
) -> Protocol[Preshared]:
    """(x - mean) / sqrt(variance + eps) over the last axis, at the scale that the plan says.

    The row is centred as d x - sum(x), without a division; sqrt(d / sum of squares) of the centred
    row c then normalises it whatever its unit. c is opened once: its square and its product both
    come of that.

    Args:
        x: (B, S, D) at ``scales.input``.
        checks: takes the range check of this layer.

    Returns:
        (B, S, D), in a ring of ``scales.output`` bits.
    """
    me.begin("norm")
    c = drop(me, x.view(Centre()), scales.centre_shift, scales.centred)
    centred = yield from open_value(me, c, WORD)
    squares = yield from square(me, centred)
    total = squares.share.sum(-1, keepdims=True)
    if me.lead:
        total = total + np.uint64(scales.epsilon)
    root, checked = yield from interpolate(me, Additive(total, WORD), scales.table)
    checks.append(checked)
    root_value = drop(me, root, scales.root_shift, scales.root)
    wide = yield from multiply(me, centred, (yield from open_value(me, root_value, WORD)))
    return (yield from preshare(me, drop(me, wide, scales.output_shift, scales.output)))
