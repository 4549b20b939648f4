"""A model small enough to train in a second; importing this file skips a test without PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from veilform.vision.dcvae.config import Config, variant  # noqa: E402
from veilform.vision.dcvae.training import Trainer  # noqa: E402

SIZES = {
    "size": 16, "channels": 1, "latent": 4, "generator": 4, "encoder": 4, "contrast": 4,
    "queue": 16, "batch": 4, "steps": 6, "every": 2,
}  # fmt: skip


def tiny(name: str = "dcvae", **changes: Any) -> Config:
    return variant(name, **{**SIZES, **changes})


def pictures(count: int = 12, size: int = 16, channels: int = 1, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, size, size, channels)).astype(np.uint8)


def trainer(name: str = "dcvae", **changes: Any) -> Trainer:
    images = torch.from_numpy(pictures()).permute(0, 3, 1, 2).contiguous()
    return Trainer(tiny(name, **changes), images, "cpu")


def snapshot(made: Trainer) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in made.networks.state_dict().items()}
