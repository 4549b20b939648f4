"""What matters of a checkpoint's config.json, whatever its family calls it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard, TypeVar

import msgspec

from veilform.errors import ModelError
from veilform.models.answers import CLASSIFICATION, EMBEDDING
from veilform.models.bert.family import BERT, FAMILIES, Family, Head
from veilform.models.checkpoint import read_config

CLS_CLASSIFIER = "BertForSequenceClassification"
MEAN_CLASSIFIER = "BertMeanPoolForSequenceClassification"

SMALL_WEIGHTS = "small_weights"
"""The key of config.json that names the matrices of small integers, and their bits."""
SMALL_PARTS = ("qkv", "projection", "inner", "outer")
SMALL_BITS = (4, 8)

MAX_SIZE = 1 << 31
_MAX_LABELS = 10_000
_LAYERS = "num_hidden_layers"
_T = TypeVar("_T")


class BertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and choices of one model. It may be one that cannot be served: see validate.py.

    Attributes:
        max_position_embeddings: positions that a text can take.
        first_position: rows of the stored position table before the first token's.
        type_vocab_size: 1 where a family knows no token types.
        head_act: activation of the "cls" pooling's dense layer.
        classifies: whether a classifier follows the pooling; if not, there are no labels.
        problem_type: Hugging Face's: how logits are meant.
        small_weights: the secure program's matrices that hold small integers, and of how many bits.
    """

    architecture: str
    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    softmax_act: str
    layer_hidden_acts: tuple[str, ...]
    layer_softmax_acts: tuple[str, ...]
    pooling: str
    labels: tuple[str, ...]
    first_position: int = 0
    head_act: str = "tanh"
    classifies: bool = True
    problem_type: str | None = None
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    add_cross_attention: bool = False
    small_weights: tuple[tuple[str, int], ...] = ()

    @property
    def head_size(self) -> int:
        """Columns of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def activation(self, layer: int) -> str:
        """The name of a layer's activation."""
        return self.layer_hidden_acts[layer] if self.layer_hidden_acts else self.hidden_act

    def attention(self, layer: int) -> str:
        """The name of what turns a layer's scores into weights."""
        return self.layer_softmax_acts[layer] if self.layer_softmax_acts else self.softmax_act

    def small(self, private_embedding: bool = False) -> dict[str, int]:
        """Bits of the matrices that the server multiplies as small integers, by name.

        A private embedding's gain is folded into the first layer's queries, keys and values, which
        are then none.
        """
        found = dict(self.small_weights)
        if private_embedding:
            found.pop("layer.0.qkv", None)
        return found

    @property
    def outputs(self) -> int:
        """Numbers that one text's output has."""
        return len(self.labels) if self.classifies else self.hidden_size

    @property
    def task(self) -> str:
        """What the model is for, by the name that Hugging Face gives it."""
        return (CLASSIFICATION if self.classifies else EMBEDDING).name

    @property
    def family(self) -> Family:
        """Whose names its folder uses."""
        return FAMILIES.get(self.model_type, BERT)

    @classmethod
    def read(cls, folder: Path) -> BertConfig:
        """That of a folder; ModelError if it is missing, broken, or as for ``parse``."""
        return cls.parse(read_config(folder))

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> BertConfig:
        """Read a Hugging Face config.

        Raises:
            ModelError: fields are missing or of the wrong type; all of them are listed.
        """
        config, problems = cls.examine(raw)
        if config is None:
            raise ModelError("config.json cannot be used:\n" + "\n".join(problems))
        return config

    @classmethod
    def examine(cls, raw: Mapping[str, object]) -> tuple[BertConfig | None, list[str]]:
        """Like ``parse``, but return the problems; the config is None if there are any."""
        reader = _Reader(raw)
        architecture = reader.architecture()
        head = reader.family.architectures.get(architecture, Head("cls"))
        first_position = reader.first_position()
        config = cls(
            architecture=architecture,
            model_type=reader.text("model_type", BERT.model_type),
            vocab_size=reader.size("vocab_size"),
            hidden_size=reader.size("hidden_size"),
            num_hidden_layers=reader.size("num_hidden_layers"),
            num_attention_heads=reader.size("num_attention_heads"),
            intermediate_size=reader.size("intermediate_size"),
            max_position_embeddings=reader.size("max_position_embeddings", first_position),
            type_vocab_size=reader.size("type_vocab_size"),
            layer_norm_eps=reader.number("layer_norm_eps", 1e-12),
            hidden_act=reader.text("hidden_act", "gelu"),
            softmax_act=reader.text("softmax_act", "softmax"),
            layer_hidden_acts=reader.names("layer_hidden_acts"),
            layer_softmax_acts=reader.names("layer_softmax_acts"),
            pooling=reader.text("pooling", head.pooling),
            labels=reader.labels() if head.classifies else (),
            first_position=first_position,
            head_act=reader.family.head_act,
            classifies=head.classifies,
            problem_type=reader.text("problem_type", "") or None,
            position_embedding_type=reader.text("position_embedding_type", "absolute"),
            is_decoder=reader.flag("is_decoder"),
            add_cross_attention=reader.flag("add_cross_attention"),
            small_weights=reader.small_weights(),
        )
        return (None if reader.problems else config), reader.problems


class _Reader:
    """Reads typed fields, and collects problems instead of stopping at the first."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        model_type = raw.get("model_type")
        self.family = FAMILIES.get(model_type, BERT) if isinstance(model_type, str) else BERT
        self._raw = raw
        self.problems: list[str] = []

    def size(self, key: str, beyond: int = 0) -> int:
        """A whole number, less ``beyond``, which must leave something."""
        value = self._get(key)
        if _is_whole(value) and beyond < value < MAX_SIZE:
            return value - beyond
        return self._bad(key, value, f"a whole number above {beyond or 'zero'}", 1)

    def number(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return self._bad(key, value, "a number", default)

    def text(self, key: str, default: str) -> str:
        value = self._get(key)
        if value is None:
            return default
        return value if isinstance(value, str) else self._bad(key, value, "text", default)

    def names(self, key: str) -> tuple[str, ...]:
        """One name a layer; none if all layers are alike."""
        value = self._get(key)
        if value is None:
            return ()
        layers = self._get("num_hidden_layers")
        if isinstance(value, list) and len(value) == layers:
            found = tuple(name for name in value if isinstance(name, str))
            if len(found) == layers:
                return found
        return self._bad(key, value, "a list of one name a layer", ())

    def small_weights(self) -> tuple[tuple[str, int], ...]:
        """A table from "layer.I.PART" to bits."""
        value, layers = self._raw.get(SMALL_WEIGHTS), self._raw.get(self.family.key(_LAYERS))
        if value is None:
            return ()
        if isinstance(value, dict) and _is_whole(layers):
            known = all(_is_matrix(name, layers) for name in value)
            if known and all(_is_whole(bits) and bits in SMALL_BITS for bits in value.values()):
                return tuple(sorted(value.items()))
        what = f'a table from "layer.I.PART" to 4 or 8 bits, PART one of {", ".join(SMALL_PARTS)}'
        return self._bad(SMALL_WEIGHTS, value, what, ())

    def flag(self, key: str) -> bool:
        value = self._get(key, False)
        return value if isinstance(value, bool) else self._bad(key, value, "true or false", False)

    def first_position(self) -> int:
        if not self.family.positions_after_padding:
            return 0
        value = self._get("pad_token_id", 1)
        if _is_whole(value) and 0 <= value < MAX_SIZE:
            return value + 1
        return self._bad("pad_token_id", value, "a whole number", 0)

    def architecture(self) -> str:
        value = self._raw.get("architectures")
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            return value[0]
        return self._bad("architectures", value, "a list of one name", "")

    def labels(self) -> tuple[str, ...]:
        """``id2label`` in order; as in Hugging Face, two unnamed labels if it is absent."""
        value = self._raw.get("id2label")
        if value is None:
            count = self.size("num_labels") if "num_labels" in self._raw else 2
            return tuple(f"LABEL_{i}" for i in range(min(count, _MAX_LABELS)))
        if isinstance(value, dict) and 0 < len(value) <= _MAX_LABELS:
            ordered = [value.get(str(i)) for i in range(len(value))]
            names = tuple(label for label in ordered if isinstance(label, str))
            if len(names) == len(ordered):
                return names
        what = 'names under "0", "1", ... without a gap'
        return self._bad("id2label", value, what, ())

    def _get(self, key: str, default: object = None) -> object:
        return self.family.fixed.get(key, self._raw.get(self.family.key(key), default))

    def _bad(self, key: str, value: object, expected: str, stand_in: _T) -> _T:
        own = self.family.key(key)
        found = "is missing" if own not in self._raw else f"is {_shorten(value)}"
        self.problems.append(f"{own} {found}; expected {expected}")
        return stand_in


_MATRIX = re.compile(rf"layer\.(0|[1-9][0-9]{{0,4}})\.({'|'.join(SMALL_PARTS)})")


def _is_matrix(name: object, layers: int) -> bool:
    found = _MATRIX.fullmatch(name) if isinstance(name, str) else None
    return found is not None and int(found[1]) < layers


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
