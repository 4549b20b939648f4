"""An image model in the clear, with what reads its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veilform.models.vision.described import ImageConfig
from veilform.models.vision.images import ImageBatch, ImageEncoder
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.preprocess import Preprocessing
from veilform.models.vision.sides import load_clips


class ClearImages:
    """A folder as ``models.sides.Clear`` has it, clipped as the secure program clips.

    Raises:
        ModelError: it is broken, or not calibrated.
    """

    def __init__(self, folder: Path, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.config = ImageConfig.read(folder)
        loaded = PlainNetwork.load(folder)
        clips = load_clips(folder, self.config)
        self._plain = PlainNetwork(loaded.network, loaded.tensors, clips)
        how = Preprocessing.read(folder, loaded.network.image)
        self.encoder = ImageEncoder(loaded.network.image, how)

    def forward(self, batch: ImageBatch) -> npt.NDArray[np.floating[Any]]:
        """Logits (B, classes)."""
        return self._plain.forward(batch.images)
