"""Sizes of models: those known by name, and those of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from veilform.approx import registry
from veilform.errors import InputError
from veilform.models.bert import names
from veilform.models.bert.config import (
    CLS_CLASSIFIER,
    MEAN_CLASSIFIER,
    SMALL_PARTS,
    BertConfig,
)

POSITIONS = 512
VOCABULARY = 1000
"""Words: few, as the look-up of a public embedding costs nothing whatever their number."""


@dataclass(frozen=True)
class ModelShape:
    """An encoder's sizes, its functions, and the head that goes with it.

    Attributes:
        pooling: "cls" or "mean".
        activation, attention: names in the registry; for layers that differ, one for each, joined
            by commas.
        weights: bits of small integers in all layers' matrices, 4 or 8; 0: they are none.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    inner: int
    pooling: str = "cls"
    epsilon: float = 1e-12
    activation: str = "quad"
    attention: str = "2quad"
    weights: int = 0

    def with_layers(self, layers: int | None) -> ModelShape:
        """The same with so many layers, all with the first one's functions; None: as it is."""
        if layers is None:
            return self
        activation, attention = self.activations[0], self.attentions[0]
        return replace(self, layers=layers, activation=activation, attention=attention)

    def with_functions(self, activation: str, attention: str) -> ModelShape:
        """The same with other functions.

        Raises:
            ModelError: one of them is not known.
            InputError: they are neither one for all layers nor one for each.
        """
        for name in activation.split(","):
            registry.activation(name)
        for name in attention.split(","):
            registry.attention(name)
        made = replace(self, activation=activation, attention=attention)
        if not {len(made.activations), len(made.attentions)} <= {1, self.layers}:
            raise InputError(f"give one function, or one for each of {self.layers} layers")
        return made

    def with_weights(self, bits: int) -> ModelShape:
        """The same with weights of so many bits."""
        return replace(self, weights=bits)

    def config(self) -> dict[str, object]:
        """A Hugging Face config.json of a student of this shape."""
        return {
            "architectures": [CLS_CLASSIFIER if self.pooling == "cls" else MEAN_CLASSIFIER],
            "model_type": "bert",
            "vocab_size": VOCABULARY,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner,
            "max_position_embeddings": POSITIONS,
            "type_vocab_size": 2,
            "layer_norm_eps": self.epsilon,
            "hidden_act": self.activations[0],
            "softmax_act": self.attentions[0],
            **self._by_layer(),
            "pooling": self.pooling,
            "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        }

    @property
    def activations(self) -> list[str]:
        """By layer, or one for all."""
        return self.activation.split(",")

    @property
    def attentions(self) -> list[str]:
        """By layer, or one for all."""
        return self.attention.split(",")

    @property
    def functions(self) -> list[tuple[str, str]]:
        """Activation and attention of each layer."""
        activations, attentions = self.activations * self.layers, self.attentions * self.layers
        return list(zip(activations, attentions, strict=False))[: self.layers]

    def _by_layer(self) -> dict[str, list[str]]:
        lists = {"layer_hidden_acts": self.activations, "layer_softmax_acts": self.attentions}
        return {key: names for key, names in lists.items() if len(names) > 1}

    @classmethod
    def of_config(cls, name: str, config: BertConfig) -> ModelShape:
        """The sizes of a checkpoint."""
        layers = range(config.num_hidden_layers)
        return cls(
            name,
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            config.pooling,
            config.layer_norm_eps,
            ",".join(config.activation(i) for i in layers),
            ",".join(config.attention(i) for i in layers),
            # A mix of them is planned as it is only with the checkpoint's own functions.
            *({bits for _, bits in config.small_weights} if _all_alike(config) else ()),
        )

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor of its checkpoint."""
        return names.expected_shapes(BertConfig.parse(self.config()))


def _all_alike(config: BertConfig) -> bool:
    every = len(config.small_weights) == config.num_hidden_layers * len(SMALL_PARTS)
    return every and len({bits for _, bits in config.small_weights}) == 1


_ALL = (
    ModelShape("minilm-l6", 6, 384, 12, 1536, pooling="mean"),
    ModelShape("bert-base", 12, 768, 12, 3072),
    ModelShape("bert-large", 24, 1024, 16, 4096),
    # Its encoder is BERT-base's; the tokenizer and position numbers that differ are public.
    ModelShape("roberta-base", 12, 768, 12, 3072, epsilon=1e-5),
)
PRESETS = {shape.name: shape for shape in _ALL}


def preset(name: str) -> ModelShape:
    """The shape of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"the shape {name!r} is not known; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
