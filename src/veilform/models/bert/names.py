"""The tensors of a model by BERT's names in Hugging Face, which stand for every family's."""

from __future__ import annotations

from veilform.models.bert.config import BertConfig

EMBEDDINGS = "bert.embeddings."
WORDS = EMBEDDINGS + "word_embeddings.weight"
POSITIONS = EMBEDDINGS + "position_embeddings.weight"
TYPES = EMBEDDINGS + "token_type_embeddings.weight"
EMBEDDING_NORM = EMBEDDINGS + "LayerNorm"
POOLER = "bert.pooler.dense"
CLASSIFIER = "classifier"

QUERY = "attention.self.query"
KEY = "attention.self.key"
VALUE = "attention.self.value"
ATTENTION_OUT = "attention.output.dense"
ATTENTION_NORM = "attention.output.LayerNorm"
INNER = "intermediate.dense"
OUT = "output.dense"
OUT_NORM = "output.LayerNorm"


def layer(index: int, part: str) -> str:
    """``part`` of one encoder layer, without ``.weight`` or ``.bias``."""
    return f"bert.encoder.layer.{index}.{part}"


def embedding_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """What a client may hold: a student keeps the published checkpoint's embeddings frozen."""
    hidden = config.hidden_size
    return {
        WORDS: (config.vocab_size, hidden),
        POSITIONS: (config.max_position_embeddings, hidden),
        TYPES: (config.type_vocab_size, hidden),
        EMBEDDING_NORM + ".weight": (hidden,),
        EMBEDDING_NORM + ".bias": (hidden,),
    }


def expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that the model computes with."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes = embedding_shapes(config)

    def dense(name: str, rows: int, columns: int) -> None:
        shapes[name + ".weight"] = (rows, columns)
        shapes[name + ".bias"] = (rows,)

    def norm(name: str) -> None:
        shapes[name + ".weight"] = (hidden,)
        shapes[name + ".bias"] = (hidden,)

    for i in range(config.num_hidden_layers):
        for part in (QUERY, KEY, VALUE, ATTENTION_OUT):
            dense(layer(i, part), hidden, hidden)
        norm(layer(i, ATTENTION_NORM))
        dense(layer(i, INNER), inner, hidden)
        dense(layer(i, OUT), hidden, inner)
        norm(layer(i, OUT_NORM))
    if config.pooling == "cls":
        dense(POOLER, hidden, hidden)
    if config.classifies:
        dense(CLASSIFIER, config.outputs, hidden)
    return shapes
