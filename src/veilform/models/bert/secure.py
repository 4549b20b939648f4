"""The model under secure computation: the program that both parties run.

It reads like the model. What the server knows (weights, biases, gains) it holds in
:class:`ServerWeights`; the client runs the same program with names and shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from veilform.approx import registry
from veilform.approx.entry import Masking
from veilform.masks import Heads, Row
from veilform.models.bert.config import BertConfig
from veilform.nn.attention import AttentionWeights, attend
from veilform.nn.feedforward import activate
from veilform.nn.head import mean_pool
from veilform.nn.norm import normalise
from veilform.nn.scales import Scales
from veilform.protocol.effects import Protocol, together
from veilform.protocol.linear import linear
from veilform.protocol.lookup import Checked, reveal_checked
from veilform.protocol.party import Party
from veilform.protocol.share import mask_private, preshare
from veilform.protocol.truncate import drop
from veilform.ring import extend
from veilform.roles import CLIENT
from veilform.shapes import Abstract
from veilform.values import Additive, Array, Preshared, Weight

Shape = tuple[int, ...]


class Inputs(NamedTuple):
    """The client's, as ring elements.

    Attributes:
        rows: (B, S, D) embedded rows at the first layer's scale, or (B, S, V + T) for a private
            embedding: a one at the word and a one at the token type, behind the V words.
        mask: (B, S, 1): round(2^mask_bits / tokens) at tokens, 0 at padding.
        padding: (B, S, 1): 1 at padding, 0 at tokens.
        pool: (B, S, 1): round(2^pool / tokens) at tokens, 0 at padding.
    """

    rows: Array
    mask: Array
    padding: Array
    pool: Array


class Answer(NamedTuple):
    """The client's: logits (B, labels) at scale LOGIT, and whether a value was out of range.

    Without a classifier the logits are the pooled rows (B, D). With a flag they are uniform noise.
    """

    logits: Array
    flag: Array


@dataclass(frozen=True, repr=False)
class ServerWeights:
    """Ring elements by name; matrices packed for the kernels."""

    weights: Mapping[str, Any]
    biases: Mapping[str, Array]


def weight_shapes(config: BertConfig, private_embedding: bool = False) -> dict[str, Shape]:
    """Every weight of the secure program: (in, out), or (out,) for a gain."""
    d, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, Shape] = {"words": (row_width(config, True), d)} if private_embedding else {}
    for i in range(config.num_hidden_layers):
        layer = f"layer.{i}."
        shapes[layer + "qkv"] = (d, 3 * d)
        shapes[layer + "projection"] = (d, d)
        shapes[layer + "attention_gain"] = (d,)
        shapes[layer + "inner"] = (d, inner)
        shapes[layer + "outer"] = (inner, d)
        shapes[layer + "feedforward_gain"] = (d,)
    if config.pooling == "cls":
        shapes["pooler"] = (d, d)
    # The last layer norm's gain rides in the classifier, or ends the model.
    shapes.update(
        {"classifier": (d, config.outputs)} if config.classifies else {"output_gain": (d,)}
    )
    return shapes


def row_width(config: BertConfig, private_embedding: bool) -> int:
    """Numbers that the client enters for a token: see ``Inputs.rows``."""
    return config.vocab_size + config.type_vocab_size if private_embedding else config.hidden_size


@dataclass(frozen=True)
class SecureBert:
    """The program of one model at one input shape.

    Attributes:
        batch: texts a run.
        scales: for one padded length.
        private_embedding: whether the look-up of words is secure too.
    """

    config: BertConfig
    scales: Scales
    batch: int = 1
    private_embedding: bool = False

    @property
    def input_shape(self) -> Shape:
        """Of ``Inputs.rows``."""
        width = row_width(self.config, self.private_embedding)
        return (self.batch, self.scales.length, width)

    def abstract(self, me: Party) -> Protocol[Answer | None]:
        """The program on shapes, for a trace."""
        batch, length, _ = self.input_shape
        column = Abstract((batch, length, 1))
        client = me.role is CLIENT
        inputs = Inputs(Abstract(self.input_shape), column, column, column) if client else None
        return self.run(me, inputs, None)

    def client(self, inputs: Inputs) -> Callable[[Party], Protocol[Answer | None]]:
        """The client's program."""
        return lambda me: self.run(me, inputs, None)

    def server(self, weights: ServerWeights) -> Callable[[Party], Protocol[Answer | None]]:
        """The server's program."""
        return lambda me: self.run(me, None, weights)

    def run(
        self, me: Party, inputs: Inputs | None, server: ServerWeights | None
    ) -> Protocol[Answer | None]:
        """One inference. Returns the answer at the client and None at the server."""
        shapes = weight_shapes(self.config, self.private_embedding)
        small = self.config.small(self.private_embedding)

        def weight(name: str) -> Weight:
            value = None if server is None else server.weights[name]
            return Weight(name, shapes[name], value, name in small)

        def bias(name: str) -> Array | None:
            return None if server is None else server.biases[name]

        batch, length, _ = self.input_shape
        column = (batch, length, 1)
        rows = me.zeros(self.input_shape) if inputs is None else inputs.rows
        head = self.scales.head
        me.begin("embedding")
        x, mask, pool = yield from together(
            preshare(me, Additive(rows, self.scales.input)),
            mask_private(me, None if inputs is None else inputs.mask, column, self.scales.mask),
            mask_private(me, None if inputs is None else inputs.pool, column, head.ring),
        )
        keys = mask.view(Heads(1))
        padding = None if inputs is None else inputs.padding.reshape(batch, 1, 1, length)
        checks: list[Checked] = []
        if self.private_embedding:
            assert self.scales.embedding is not None
            summed = yield from linear(
                me, [(x, weight("words"))], self.scales.embedding.ring, bias("words")
            )
            x = yield from normalise(me, summed, self.scales.embedding, checks)

        for i, scales in enumerate(self.scales.layers):
            layer = f"layer.{i}."
            qkv = AttentionWeights(weight(layer + "qkv"), bias(layer + "qkv"))
            heads = self.config.num_attention_heads
            masking = Masking(keys, scales.attention.mask_bits, padding)
            attention = registry.attention(self.config.attention(i))
            context = yield from attend(
                me, x, masking, heads, qkv, attention, scales.attention, checks
            )
            me.begin("linear")
            summed = yield from linear(
                me,
                [(context, weight(layer + "projection")), (x, weight(layer + "attention_gain"))],
                scales.attention.projected,
                bias(layer + "projection"),
            )
            x = yield from normalise(me, summed, scales.attention_norm, checks)
            active = yield from activate(
                me, x, weight(layer + "inner"), bias(layer + "inner"),
                registry.activation(self.config.activation(i)), scales.feedforward, checks,
            )  # fmt: skip
            me.begin("linear")
            summed = yield from linear(
                me,
                [(active, weight(layer + "outer")), (x, weight(layer + "feedforward_gain"))],
                scales.feedforward.output,
                bias(layer + "outer"),
            )
            x = yield from normalise(me, summed, scales.feedforward_norm, checks)

        me.begin("head")
        pooled: Preshared
        if self.scales.pooler is not None:
            pooled = yield from activate(
                me, x.view(Row(0)), weight("pooler"), bias("pooler"),
                registry.activation(self.config.head_act), self.scales.pooler, checks,
            )  # fmt: skip
        else:
            pooled = yield from mean_pool(me, x, pool, head.ring)
        last = "classifier" if self.config.classifies else "output_gain"
        logits = yield from linear(me, [(pooled, weight(last))], head.ring, bias(last))
        rounded = drop(me, logits, head.shift)
        shown, flag = yield from reveal_checked(me, rounded, checks)
        if shown is None or flag is None:
            return None
        return Answer(extend(shown, rounded.bits).reshape(batch, -1), flag)
