"""``DCVAE``: fit it to images, then encode, reconstruct, sample and interpolate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from veilform.errors import InputError, ModelError
from veilform.vision.dcvae import state, stored
from veilform.vision.dcvae.config import Config
from veilform.vision.dcvae.images import Images, check, grid, write_png
from veilform.vision.dcvae.training import Networks, Trainer

Real = NDArray[np.float32]
Report = dict[str, Any]
GRID = 64
MOST_AT_ONCE = 256


class DCVAE:
    """A generative autoencoder. Images are (N, size, size, channels) of uint8, in and out.

    Attributes:
        encoder, generator, dual: what is used; the generator is the averaged one, and ``dual`` is
            None for a model without an adversarial loss.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._use(Networks(config))

    def _use(self, networks: Networks) -> None:
        self.encoder, self.generator = networks.encoder.eval(), networks.averaged.eval()
        self.dual = None if networks.dual is None else networks.dual.eval()
        self.device = next(self.encoder.parameters()).device

    def fit(
        self,
        images: Any,
        folder: Path | None = None,
        tell: Callable[[Report], None] | None = None,
        *,
        reports: int = 100,
        checkpoints: int = 500,
        grids: int = 500,
    ) -> DCVAE:
        """Trains for ``config.steps`` steps, or what is left of them.

        Args:
            images: as of the class; grey ones may lack the last axis.
            folder: where checkpoints and sample grids go. A training that it holds goes on.
            tell: gets the step and the mean of each loss since the last report.
            reports, checkpoints, grids: a report, checkpoint, grid in so many steps.

        Raises:
            InputError: images do not suit the config, a folder is of another training, or it
                diverged.
        """
        data = torch.from_numpy(check(images, self.config)).permute(0, 3, 1, 2).contiguous()
        if len(data) < 2:
            raise InputError("one image is too few to train on")
        trainer = Trainer(self.config, data)
        name = state.digest(data)
        if folder is not None:
            state.resume(trainer, folder, name)
        shown = data[:: max(1, len(data) // (GRID // 2))][: GRID // 2]
        sums: dict[str, list[float]] = {}
        while trainer.step < self.config.steps:
            for key, value in trainer.advance().items():
                sums.setdefault(key, []).append(value)
            last = trainer.step == self.config.steps
            if tell and (last or trainer.step % reports == 0):
                means = {key: sum(values) / len(values) for key, values in sums.items()}
                tell({"step": trainer.step, **means})
                sums = {}
            if folder is not None and (last or trainer.step % checkpoints == 0):
                state.save(trainer, folder, name)
            if folder is not None and (last or trainer.step % grids == 0):
                self._use(trainer.networks)
                self._show(folder / f"step-{trainer.step:07d}.png", shown)
                trainer.networks.train()
        self._use(trainer.networks)
        return self

    def _show(self, path: Path, shown: Tensor) -> None:
        """Samples above; below them images, each with its reconstruction to the right."""
        if self.config.channels not in (1, 3):
            return
        originals = shown.permute(0, 2, 3, 1).numpy()
        pairs = np.stack([originals, self.reconstruct(originals)], 1)
        pairs = pairs.reshape(-1, *originals.shape[1:])
        samples = self.sample(GRID, seed=0)
        write_png(path, grid(np.concatenate([samples, pairs]), 16))

    def encode(self, images: Any) -> Real:
        """The means of images' posteriors, (N, latent)."""
        return self._mapped(lambda x: self.encoder(x)[0], self._reals(images))

    def reconstruct(self, images: Any) -> Images:
        """Images from the means of images' posteriors."""
        return self.decode(self.encode(images))

    def decode(self, latents: Any) -> Images:
        """Images (N, size, size, channels) from latents (N, latent).

        Raises:
            InputError: latents have another shape, or are no numbers.
        """
        found = np.asarray(latents, np.float32)
        if found.ndim != 2 or found.shape[1] != self.config.latent or not np.isfinite(found).all():
            raise InputError(
                f"latents are N x {self.config.latent} numbers, not an array of {found.shape}"
            )
        return self._mapped(lambda z: _as_bytes(self.generator(z)), torch.from_numpy(found))

    def latents(self, count: int, truncation: float | None = None, seed: int = 0) -> Real:
        """Draws from the prior, (count, latent).

        Args:
            truncation: entries beyond it, in absolute value, are drawn again. None: none is; the
                figures of a model are of samples without truncation.

        Raises:
            InputError: there is nothing to draw.
        """
        if count < 1 or (truncation is not None and not truncation > 0):
            raise InputError(f"cannot draw {count} samples with truncation {truncation}")
        random = torch.Generator().manual_seed(seed)
        shape = (count, self.config.latent)
        if truncation is None:
            return torch.randn(shape, generator=random).numpy()
        drawn = torch.empty(shape)
        nn.init.trunc_normal_(drawn, a=-truncation, b=truncation, generator=random)
        return drawn.numpy()

    def sample(self, count: int, truncation: float | None = None, seed: int = 0) -> Images:
        """New images; see :meth:`latents`."""
        return self.decode(self.latents(count, truncation, seed))

    def interpolate(self, first: Any, second: Any, steps: int = 8) -> Images:
        """Between pairs of images: (N, steps, size, size, channels), both ends reconstructions.

        Raises:
            InputError: there are not as many of one as of the other, or fewer than two steps.
        """
        ends = self.encode(first), self.encode(second)
        if len(ends[0]) != len(ends[1]) or steps < 2:
            raise InputError("interpolation takes pairs of images, and two steps or more")
        share = np.linspace(0, 1, steps, dtype=np.float32)[None, :, None]
        path = ends[0][:, None] * (1 - share) + ends[1][:, None] * share
        made = self.decode(path.reshape(-1, self.config.latent))
        return made.reshape(len(ends[0]), steps, *made.shape[1:])

    def features(self, images: Any) -> Real:
        """Unit vectors (N, contrast) by which the dual encoder tells instances apart.

        Raises:
            ModelError: the model has no dual encoder.
        """
        dual = self.dual
        if dual is None:
            raise ModelError("a VAE has no dual encoder, so no instance features; use encode()")
        return self._mapped(lambda x: dual(x).final, self._reals(images))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config and networks; ``private.prepare`` makes both of them ready to be served."""
        stored.save(Path(folder), self.config, self.encoder, self.generator, self.dual)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> DCVAE:
        """Reads what :meth:`save_pretrained` wrote.

        Raises:
            ModelError: the folder holds no such model, or it is broken.
        """
        config, networks = stored.load(Path(folder))
        made = cls.__new__(cls)
        made.config = config
        made._use(networks)
        return made

    def _reals(self, images: Any) -> Tensor:
        found = torch.from_numpy(check(images, self.config)).permute(0, 3, 1, 2)
        return found.float() / 127.5 - 1

    @torch.no_grad()
    def _mapped(self, function: Callable[[Tensor], Tensor], inputs: Tensor) -> Any:
        """In parts, so that memory does not grow with the number of images."""
        parts = [function(part.to(self.device)).cpu() for part in inputs.split(MOST_AT_ONCE)]
        return torch.cat(parts).numpy()


def _as_bytes(images: Tensor) -> Tensor:
    """From [-1, 1] to (N, H, W, C) of uint8."""
    scaled = ((images + 1) * 127.5).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
