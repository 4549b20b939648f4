"""The families of checkpoints that are one model: BERT, RoBERTa, XLM-RoBERTa, DistilBERT.

They compute the same function of their tensors and differ in what things are called, where
positions start, which tables are missing, and what the head's dense layer is followed by. All that
is said here and undone where a folder is read (`config.py`, `stored.py`); behind that there is
one model with BERT's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Head:
    """What turns the last layer's rows into the output.

    Attributes:
        pooling: "cls", activation(dense(first token)), or "mean", the mean over tokens.
        classifies: a linear classifier follows; if not, the pooled row is the output.
    """

    pooling: str
    classifies: bool = True


@dataclass(frozen=True)
class Family:
    """One family, by what its folders call things.

    Attributes:
        model_type: in config.json.
        classes: what its architectures' names start with.
        prefix: of the encoder's tensors, in place of ``bert.``. A checkpoint saved without a head
            leaves it out.
        head_act: activation of the head's dense layer.
        keys: config keys that differ, by BERT's.
        fixed: config values that it does not store, by BERT's keys.
        tensors: parts of tensors' names that differ, by BERT's; replaced in this order.
        positions_after_padding: the first token's position is ``pad_token_id`` + 1, not 0.
        typed: whether there is a table of token types; if not, it is taken for one row of zeros.
    """

    model_type: str
    classes: str
    prefix: str
    head_act: str = "tanh"
    keys: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)
    positions_after_padding: bool = False
    typed: bool = True

    @property
    def architectures(self) -> dict[str, Head]:
        """The head of each architecture; ``MeanPool`` is ours, the others are Hugging Face's."""
        return {
            f"{self.classes}ForSequenceClassification": Head("cls"),
            f"{self.classes}MeanPoolForSequenceClassification": Head("mean"),
            f"{self.classes}Model": Head("mean", classifies=False),
        }

    def key(self, key: str) -> str:
        """What its config.json calls BERT's ``key``."""
        return self.keys.get(key, key)


_ROBERTA_HEAD = {
    "bert.pooler.dense": "classifier.dense",
    "classifier.weight": "classifier.out_proj.weight",
    "classifier.bias": "classifier.out_proj.bias",
}
BERT = Family("bert", "Bert", "bert.")
FAMILIES: Mapping[str, Family] = {
    family.model_type: family
    for family in (
        BERT,
        Family(
            "roberta",
            "Roberta",
            "roberta.",
            tensors=_ROBERTA_HEAD,
            positions_after_padding=True,
        ),
        Family(
            "xlm-roberta",
            "XLMRoberta",
            "roberta.",
            tensors=_ROBERTA_HEAD,
            positions_after_padding=True,
        ),
        Family(
            "distilbert",
            "DistilBert",
            "distilbert.",
            head_act="relu",
            keys={
                "hidden_size": "dim",
                "num_hidden_layers": "n_layers",
                "num_attention_heads": "n_heads",
                "intermediate_size": "hidden_dim",
                "hidden_act": "activation",
            },
            fixed={"type_vocab_size": 1, "layer_norm_eps": 1e-12},
            tensors={
                "encoder.layer": "transformer.layer",
                "attention.self.query": "attention.q_lin",
                "attention.self.key": "attention.k_lin",
                "attention.self.value": "attention.v_lin",
                "attention.output.dense": "attention.out_lin",
                "attention.output.LayerNorm": "sa_layer_norm",
                "intermediate.dense": "ffn.lin1",
                "output.dense": "ffn.lin2",
                "output.LayerNorm": "output_layer_norm",
                "bert.pooler.dense": "pre_classifier",
            },
            typed=False,
        ),
    )
}
"""Every family by its ``model_type``. MiniLM's checkpoints are BERT's."""
