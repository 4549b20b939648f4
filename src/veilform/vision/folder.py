"""The folder of an image model that is trained here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from veilform.errors import ModelError
from veilform.models import checkpoint
from veilform.models.vision import config
from veilform.models.vision.config import Classifier
from veilform.models.vision.plain import PlainNetwork, Tensors
from veilform.models.vision.preprocess import PREPROCESSOR, Preprocessing, Size
from veilform.models.vision.sides import save_clips, save_tiles
from veilform.plan.convolution import choose
from veilform.vision.data import Pictures


@dataclass(frozen=True)
class Normal:
    """What is done to pixels in [0, 1]: less ``mean``, over ``std``, of each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def largest(self) -> float:
        """No entry of an image is larger in absolute value, whatever the picture."""
        return max(max(mean, 1 - mean) / std for mean, std in zip(self.mean, self.std, strict=True))


@dataclass(frozen=True)
class Model:
    """A folder's network, tensors and normalisation."""

    family: Classifier
    tensors: Tensors
    normal: Normal


def read(folder: Path) -> Model:
    """An image model whose pixels are scaled to [0, 1] and normalised.

    Raises:
        ModelError: it is broken, or its pixels are scaled to something else.
    """
    plain = PlainNetwork.load(folder)
    image = plain.network.image
    how = Preprocessing.read(folder, image)
    if not how.do_rescale or abs(255 * how.rescale_factor - 1) > 1e-6:
        raise ModelError(f"{PREPROCESSOR} in {folder} must scale pixels to [0, 1]")
    mean, std = how.normal(image[2])
    normal = Normal(tuple(mean.tolist()), tuple(std.tolist()))
    return Model(config.classifier(config.read(folder)), plain.tensors, normal)


def write(
    folder: Path,
    model: Model,
    pictures: Pictures,
    caps: dict[str, float],
    figures: dict[str, Any],
) -> None:
    """Writes a folder that can be served, with the figures of its training.

    Args:
        caps: by step, where its ReLU is clipped.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    about = msgspec.to_builtins(model.family)
    about["id2label"] = {str(i): name for i, name in enumerate(pictures.classes)}
    height, width, _ = pictures.shape
    _save(folder / checkpoint.CONFIG, about)
    size = Size(height, width)
    resized, padded = pictures.fitted == "resized", pictures.fitted == "padded"
    Preprocessing(
        do_resize=resized, size=size if resized else None,
        do_pad=padded, pad_size=size if padded else None,
        do_normalize=True, image_mean=model.normal.mean, image_std=model.normal.std,
    ).save(folder)  # fmt: skip
    arrays = {name: np.ascontiguousarray(value) for name, value in model.tensors.items()}
    save_file(arrays, folder / checkpoint.WEIGHTS)
    save_clips(folder, caps)
    save_tiles(folder, choose(model.family.network()))
    _save(folder / "training.json", figures)


def _save(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
