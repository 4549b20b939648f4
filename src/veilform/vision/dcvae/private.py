"""A trained model made ready to be served: where ReLUs clip, and how pictures become images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from veilform.models.vision.plain import PlainNetwork, Real, calibrate
from veilform.models.vision.preprocess import Preprocessing, Size
from veilform.models.vision.sides import save_clips
from veilform.vision.dcvae.images import Images
from veilform.vision.dcvae.model import DCVAE
from veilform.vision.dcvae.stored import DECODER, ENCODER

CALIBRATED_ON = 64


def as_pixels(latents: np.ndarray) -> Real:
    """Latents (N, D) as the decoder takes them: images of one pixel."""
    return np.asarray(latents, np.float64)[:, None, None, :]


def as_reals(images: Images) -> Real:
    """Bytes as the encoder takes them, in [-1, 1]."""
    return np.asarray(images, np.float64) / 127.5 - 1


def prepare(folder: Path, images: Images) -> None:
    """Writes ``clips.json`` to both folders, from draws of the prior and from images.

    The encoder's also gets a ``preprocessor_config.json``: a picture's middle square, resized, its
    pixels from -1 to 1.

    Raises:
        ModelError: the folder holds no model.
        InputError: the images do not suit it.
    """
    model = DCVAE.from_pretrained(folder)
    images = images[:CALIBRATED_ON]
    side = model.config.size
    # Before its clips, without which the encoder is not served.
    Preprocessing(
        do_resize=True, size=Size(shortest_edge=side), do_center_crop=True,
        crop_size=Size(side, side), do_normalize=True, image_mean=(0.5,), image_std=(0.5,),
    ).save(folder / ENCODER)  # fmt: skip
    # Latents of images too: those are what a client who encoded something asks for.
    latents = np.concatenate([model.latents(CALIBRATED_ON), model.encode(images)])
    for name, inputs in ((DECODER, as_pixels(latents)), (ENCODER, as_reals(images))):
        plain = PlainNetwork.load(folder / name)
        save_clips(folder / name, calibrate(plain, inputs))
