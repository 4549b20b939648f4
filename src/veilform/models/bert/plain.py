"""The model's forward pass on plain numbers: the oracle of the secure one.

Shapes: B texts, S tokens, D hidden, H heads, E head size, L labels (D without a classifier).
Padded positions are computed like all others, as they are in the secure run; the mask only keeps
them out of the attention's keys and of mean pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veilform.approx import registry
from veilform.approx.arrays import FloatArray, MaskArray
from veilform.errors import ModelError
from veilform.models.bert import names
from veilform.models.bert.config import BertConfig
from veilform.models.bert.embedding import IdArray, Params, embedding_sum, layer_norm
from veilform.models.bert.stored import StoredTensors

Observe = Callable[[str, FloatArray], None]
"""Called with a wire's name, such as ``layer.0.scores``, and its value."""


def _ignore(name: str, value: FloatArray) -> None:
    pass


@dataclass(frozen=True)
class PlainBert:
    """A model in float32 or float64; ``params`` have BERT's names (`names.py`).

    Wires that ``observe`` is told, in order. Before the layers: ``embedding_norm_input``. In layer
    i, each under ``layer.<i>.``: q, k, v (B, S, D); scores, weights (B, H, S, S); context,
    attention_output, attention_norm_input, attention_norm (B, S, D); inner, activation (B, S, I);
    feedforward_output, feedforward_norm_input, feedforward_norm (B, S, D). After them: pooler
    (B, D; before its activation, pooling "cls" only), pooled (B, D), logits (B, L).
    """

    config: BertConfig
    params: Params

    @classmethod
    def load(cls, folder: Path, dtype: type[np.floating] = np.float32) -> PlainBert:
        """Read a checkpoint folder.

        Raises:
            ModelError: it is broken, tensors are missing or misshapen (all are listed), or it
                names an unknown activation or attention.
        """
        config = BertConfig.read(folder)
        for i in range(config.num_hidden_layers):
            registry.activation(config.activation(i))
            registry.attention(config.attention(i))
        if config.hidden_size % config.num_attention_heads or config.pooling not in ("mean", "cls"):
            raise ModelError(
                f"hidden_size {config.hidden_size} must be a multiple of num_attention_heads "
                f"{config.num_attention_heads}, and pooling 'mean' or 'cls', not {config.pooling!r}"
            )
        stored = StoredTensors.open(folder, config, names.expected_shapes(config))
        return cls(config, {name: value.astype(dtype) for name, value in stored.items()})

    def forward(
        self,
        ids_BS: IdArray,
        mask_BS: MaskArray,
        types_BS: IdArray | None = None,
        observe: Observe = _ignore,
    ) -> FloatArray:
        """Logits (B, L) of padded token ids; ``mask_BS`` is one at tokens and zero at padding.

        Without a classifier they are the pooled rows.
        """
        hidden_BSD = self.encode(ids_BS, mask_BS, types_BS, observe)
        logits_BL = self.pool(hidden_BSD, mask_BS, observe)
        if self.config.classifies:
            logits_BL = self._dense(logits_BL, names.CLASSIFIER)
        observe("logits", logits_BL)
        return logits_BL

    def encode(
        self,
        ids_BS: IdArray,
        mask_BS: MaskArray,
        types_BS: IdArray | None = None,
        observe: Observe = _ignore,
    ) -> FloatArray:
        """The last layer's hidden states (B, S, D)."""
        types_BS = np.zeros_like(ids_BS) if types_BS is None else types_BS
        x_BSD = embedding_sum(self.params, ids_BS, types_BS)
        observe("embedding_norm_input", x_BSD)
        x_BSD = self._norm(x_BSD, names.EMBEDDING_NORM)
        for i in range(self.config.num_hidden_layers):
            x_BSD = self._layer(i, x_BSD, mask_BS, observe)
        return x_BSD

    def pool(
        self, hidden_BSD: FloatArray, mask_BS: MaskArray, observe: Observe = _ignore
    ) -> FloatArray:
        """One vector a text (B, D): the mean over tokens, or activation(dense(first token))."""
        if self.config.pooling == "mean":
            mask_BS1 = mask_BS[:, :, None].astype(hidden_BSD.dtype)
            pooled_BD: FloatArray = (hidden_BSD * mask_BS1).sum(axis=1) / mask_BS1.sum(axis=1)
        else:
            pooler_BD = self._dense(hidden_BSD[:, 0], names.POOLER)
            observe("pooler", pooler_BD)
            pooled_BD = registry.activation(self.config.head_act).plain(pooler_BD)
        observe("pooled", pooled_BD)
        return pooled_BD

    def _layer(self, i: int, x_BSD: FloatArray, mask_BS: MaskArray, observe: Observe) -> FloatArray:
        def tell(part: str, value: FloatArray) -> FloatArray:
            observe(f"layer.{i}.{part}", value)
            return value

        def dense(part: str, value: FloatArray) -> FloatArray:
            return self._dense(value, names.layer(i, part))

        q_BSD = tell("q", dense(names.QUERY, x_BSD))
        k_BSD = tell("k", dense(names.KEY, x_BSD))
        v_BSD = tell("v", dense(names.VALUE, x_BSD))
        scale = x_BSD.dtype.type(1 / math.sqrt(self.config.head_size))
        k_BHES = self._heads(k_BSD).swapaxes(-1, -2)
        scores_BHSS = tell("scores", self._heads(q_BSD) @ k_BHES * scale)
        attend = registry.attention(self.config.attention(i)).plain
        weights_BHSS = tell("weights", attend(scores_BHSS, mask_BS[:, None, None, :]))
        context_BHSE = weights_BHSS @ self._heads(v_BSD)
        context_BSD = tell("context", context_BHSE.swapaxes(1, 2).reshape(x_BSD.shape))

        out_BSD = tell("attention_output", dense(names.ATTENTION_OUT, context_BSD))
        sum_BSD = tell("attention_norm_input", out_BSD + x_BSD)
        x_BSD = tell("attention_norm", self._norm(sum_BSD, names.layer(i, names.ATTENTION_NORM)))

        inner_BSI = tell("inner", dense(names.INNER, x_BSD))
        activate = registry.activation(self.config.activation(i)).plain
        active_BSI = tell("activation", activate(inner_BSI))
        out_BSD = tell("feedforward_output", dense(names.OUT, active_BSI))
        sum_BSD = tell("feedforward_norm_input", out_BSD + x_BSD)
        return tell("feedforward_norm", self._norm(sum_BSD, names.layer(i, names.OUT_NORM)))

    def _heads(self, x_BSD: FloatArray) -> FloatArray:
        batch, length, _ = x_BSD.shape
        split_BSHE = x_BSD.reshape(batch, length, self.config.num_attention_heads, -1)
        split_BHSE: FloatArray = split_BSHE.swapaxes(1, 2)
        return split_BHSE

    def _dense(self, x: FloatArray, name: str) -> FloatArray:
        result: FloatArray = x @ self.params[name + ".weight"].T + self.params[name + ".bias"]
        return result

    def _norm(self, x: FloatArray, name: str) -> FloatArray:
        return layer_norm(x, self.params, name, self.config.layer_norm_eps)
