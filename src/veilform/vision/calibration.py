"""What the folder of an image model needs before it is served: clips, and ways of convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from veilform.errors import InputError
from veilform.models.vision.images import ImageEncoder
from veilform.models.vision.plain import PlainNetwork, calibrate
from veilform.models.vision.preprocess import Preprocessing
from veilform.models.vision.sides import save_clips, save_tiles
from veilform.plan.convolution import choose

PICTURES = 8
"""Read and run at a time."""

Progress = Callable[[int, int], None]


def calibrate_on(
    folder: Path, pictures: Sequence[Any], progress: Progress = lambda done, total: None
) -> dict[str, float]:
    """Finds where each ReLU is clipped, and how each convolution is computed, and keeps both.

    Args:
        pictures: as ``models.vision.images`` takes them; some hundred typical ones.

    Returns:
        By step, where its ReLU is clipped. None for a network of ReLU6 alone.

    Raises:
        ModelError: the folder's model is broken.
        InputError: a picture cannot be used, or the folder cannot be written.
    """
    if not pictures:
        raise InputError("there is no picture to calibrate on")
    plain = PlainNetwork.load(folder)
    encoder = ImageEncoder(plain.network.image, Preprocessing.read(folder, plain.network.image))
    clips: dict[str, float] = {}
    for first in range(0, len(pictures), PICTURES):
        images = encoder.encode(pictures[first : first + PICTURES])
        found = calibrate(plain, encoder.pad(images).images)
        # Powers of two, so the largest of each batch's is that of all.
        clips = {step: max(clip, clips.get(step, 0.0)) for step, clip in found.items()}
        progress(min(first + PICTURES, len(pictures)), len(pictures))
    try:
        save_clips(folder, clips)
        save_tiles(folder, choose(plain.network))
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}") from None
    return clips
