"""The folder of an image model: its config, tensors, clips, and what is done to pixels.

Labels and steps on pixels have Hugging Face's names, as ``serve`` reads them.
"""

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
from veilform.models.vision.config import Family
from veilform.models.vision.plain import PlainNetwork, Tensors
from veilform.models.vision.sides import save_clips
from veilform.vision.data import Pictures

PREPROCESSOR = "preprocessor_config.json"


@dataclass(frozen=True)
class Normal:
    """What is done to pixels in [0, 1]: less ``mean``, over ``std``, of each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def largest(self) -> float:
        """No entry of an image is larger in absolute value, whatever the picture."""
        return max(max(mean, 1 - mean) / std for mean, std in zip(self.mean, self.std, strict=True))


class _Preprocessor(msgspec.Struct, frozen=True):
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """A folder's network, tensors and normalisation."""

    family: Family
    tensors: Tensors
    normal: Normal


def read(folder: Path) -> Model:
    """An image model that was trained here, or one with a preprocessor_config.json.

    Raises:
        ModelError: it is broken, or does not say how pictures are normalised.
    """
    plain = PlainNetwork.load(folder)
    found = checkpoint.read_json(folder, PREPROCESSOR, checkpoint.MAX_CONFIG_BYTES)
    try:
        told = msgspec.convert(found, _Preprocessor)
    except msgspec.ValidationError as error:
        raise ModelError(f"{PREPROCESSOR} in {folder} is malformed: {error}") from None
    channels = plain.network.image[2]
    if {len(told.image_mean), len(told.image_std)} != {channels} or min(told.image_std) <= 0:
        raise ModelError(f"{PREPROCESSOR} in {folder} must have image_mean and image_std > 0 of "
                         f"{channels} channels")  # fmt: skip
    normal = Normal(told.image_mean, told.image_std)
    return Model(config.read(folder), plain.tensors, normal)


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
    size = {"height": height, "width": width}
    pixels = {
        "do_resize": pictures.fitted == "resized",
        "do_pad": pictures.fitted == "padded",
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": model.normal.mean,
        "image_std": model.normal.std,
    }
    # Pillow's number of the bilinear filter, by which pictures are resized for training.
    pixels |= {"size": size, "resample": 2} if pictures.fitted == "resized" else {}
    pixels |= {"pad_size": size} if pictures.fitted == "padded" else {}
    for name, content in ((checkpoint.CONFIG, about), (PREPROCESSOR, pixels)):
        _save(folder / name, content)
    arrays = {name: np.ascontiguousarray(value) for name, value in model.tensors.items()}
    save_file(arrays, folder / checkpoint.WEIGHTS)
    save_clips(folder, caps)
    _save(folder / "training.json", figures)


def _save(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
