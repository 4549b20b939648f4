"""A text model in the clear, with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veilform.models.bert.config import BertConfig
from veilform.models.bert.plain import PlainBert
from veilform.models.text import TextEncoder, TokenBatch


class ClearText:
    """A checkpoint folder as ``models.sides.Clear`` has it; ModelError if it is broken."""

    def __init__(self, folder: Path, dtype: type[np.floating[Any]] = np.float32) -> None:
        self._model = PlainBert.load(folder, dtype)
        self.encoder = TextEncoder.from_folder(folder)

    @property
    def config(self) -> BertConfig:
        """What its outputs mean."""
        return self._model.config

    def forward(self, batch: TokenBatch) -> npt.NDArray[np.floating[Any]]:
        """Outputs (B, L) of padded texts."""
        return self._model.forward(batch.ids, batch.mask, batch.types)
