"""A small classifier of Fashion-MNIST, whose features tell how far apart sets of images are.

Three convolutions and a dense layer, trained here on the data set's training split:
``bench/dcvae.py --classifier``. Its weights are beside this file.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from veilform.errors import InputError, ModelError
from veilform.models.tensors import TensorFile
from veilform.vision.dcvae.images import Images

WEIGHTS = Path(__file__).parent / "fashion_classifier.safetensors"
FEATURES, CLASSES = 64, 10
_BATCH, _RATE = 128, 2e-3


class Classifier(nn.Module):
    """Of images (N, 32, 32, 1); 64 features before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv2, self.norm2 = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.conv3, self.norm3 = nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.dense = nn.Linear(64 * 4 * 4, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def embed(self, x: Tensor) -> Tensor:
        """Features (N, 64) of images (N, 1, 32, 32) in [-1, 1]."""
        pairs = ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3))
        for conv, norm in pairs:
            x = functional.max_pool2d(functional.relu(norm(conv(x))), 2)
        return functional.relu(self.dense(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10)."""
        return self.head(self.embed(x))

    @torch.no_grad()
    def features(self, images: Images) -> NDArray[np.float64]:
        """(N, 64), of bytes (N, 32, 32, 1).

        Raises:
            InputError: images have another shape.
        """
        if images.shape[1:] != (32, 32, 1):
            raise InputError(
                f"the classifier takes grey images of 32 x 32, not {images.shape[1:]}: evaluation "
                "is for models of Fashion-MNIST"
            )
        self.eval()
        parts = [
            self.embed(_reals(part)) for part in np.array_split(images, -(-len(images) // 256))
        ]
        return torch.cat(parts).double().numpy()

    @torch.no_grad()
    def accuracy(self, images: Images, labels: NDArray[np.uint8]) -> float:
        """Share of right labels."""
        self.eval()
        features = torch.from_numpy(self.features(images)).float()
        return float((self.head(features).argmax(1).numpy() == labels).mean())


def _reals(images: Images) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(images: Images, labels: NDArray[np.uint8], epochs: int, seed: int = 0) -> Classifier:
    """On images moved by up to two pixels and mirrored, the rate falling along a cosine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier()
    random = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=1e-2)
    steps = epochs * (len(images) // _BATCH)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 + math.cos(math.pi * step / steps)) / 2
        at = torch.randint(len(images), (_BATCH,), generator=random).numpy()
        dy, dx = torch.randint(-2, 3, (2,), generator=random).tolist()
        x = torch.roll(_reals(images[at]), (dy, dx), (2, 3))
        if torch.randint(2, (), generator=random):
            x = x.flip(3)
        loss = functional.cross_entropy(model(x), torch.from_numpy(labels[at]).long())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return model.eval()


def save(model: Classifier, path: Path = WEIGHTS) -> None:
    """Half precision: a few hundred kilobytes."""
    from safetensors.torch import save_file

    tensors = {
        name: value.half().contiguous()
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    save_file(tensors, path)


def load(path: Path = WEIGHTS) -> Classifier:
    """What :func:`save` wrote.

    Raises:
        ModelError: the file is missing or is something else.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: install Veilform again")
    model, stored = Classifier(), TensorFile(path)
    state = model.state_dict()
    wanted = {name for name, value in state.items() if value.is_floating_point()}
    if missing := sorted(wanted - set(stored.tensors)):
        raise ModelError(f"{path} has no {', '.join(missing)}")
    found = {name: torch.from_numpy(stored.read(name).astype(np.float32)) for name in wanted}
    model.load_state_dict(state | found)
    return model.eval()
