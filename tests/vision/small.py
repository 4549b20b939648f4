"""Small image models of random weights, as folders, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from veilform.models.vision.config import MobileNetV2, ResNet
from veilform.models.vision.preprocess import Preprocessing, Size
from veilform.plan.random_network import random_tensors
from veilform.vision import calibration, importing

MOBILE = MobileNetV2(12, 12, 1, 3, ((1, 4, 1, 1), (2, 6, 2, 2)), 4, 1, 8)
RESNET = ResNet(10, 9, 3, 4, (1, 1), (4, 6), True)
LABELS = ("shirt", "coat", "bag")
PADDED = Preprocessing(
    do_resize=True, size=Size(10, 10), do_pad=True, pad_size=Size(12, 12),
    do_normalize=True, image_mean=(0.3,), image_std=(0.35,),
)  # fmt: skip


def mobile(folder: Path) -> Path:
    """A MobileNetV2 of grey images that is resized, padded and normalised; needs no calibration."""
    importing.write(folder, MOBILE, random_tensors(MOBILE.network()), PADDED, LABELS)
    return folder


def resnet(folder: Path) -> Path:
    """A ResNet of RGB images, calibrated on random pixels."""
    importing.write(folder, RESNET, random_tensors(RESNET.network()))
    calibration.calibrate_on(folder, pixels(RESNET, 4))
    return folder


def pixels(family: MobileNetV2 | ResNet, count: int, seed: int = 0) -> list[np.ndarray]:
    """Random pixels (H, W, C) of the size that a network takes."""
    rng = np.random.default_rng(seed)
    shape = family.network().image
    return [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]
