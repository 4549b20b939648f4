"""The architectures that can be measured by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from veilform.approx import registry
from veilform.errors import InputError
from veilform.models.bert import names
from veilform.models.bert.config import CLS_CLASSIFIER, MEAN_CLASSIFIER, BertConfig

POSITIONS = 512
VOCABULARY = 1000
"""Words: few, as the look-up of a public embedding costs nothing whatever their number."""


@dataclass(frozen=True)
class ModelShape:
    """An encoder's sizes, its functions, and the head that goes with it.

    Attributes:
        pooling: "cls" or "mean".
        activation, attention: names in the registry.
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

    def with_layers(self, layers: int | None) -> ModelShape:
        """The same with another number of layers; None keeps it."""
        return self if layers is None else replace(self, layers=layers)

    def with_functions(self, activation: str, attention: str) -> ModelShape:
        """The same with other functions.

        Raises:
            ModelError: one of them is not known.
        """
        registry.activation(activation)
        registry.attention(attention)
        return replace(self, activation=activation, attention=attention)

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
            "hidden_act": self.activation,
            "softmax_act": self.attention,
            "pooling": self.pooling,
            "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        }

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor of its checkpoint."""
        return names.expected_shapes(BertConfig.parse(self.config()))


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
