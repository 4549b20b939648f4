"""The losses. Each is a mean over images, so none depends on how many a batch has."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def hinge(real: Tensor, sampled: Tensor, reconstructed: Tensor) -> Tensor:
    """The discriminator's: real images above 1, the generator's below -1, half of each kind."""
    made = functional.relu(1 + sampled).mean() + functional.relu(1 + reconstructed).mean()
    return functional.relu(1 - real).mean() + made / 2


def deceive(sampled: Tensor, reconstructed: Tensor) -> Tensor:
    """The generator's and encoder's side of it."""
    return -(sampled.mean() + reconstructed.mean()) / 2


def divergence(mean: Tensor, spread: Tensor) -> Tensor:
    """KL of N(mean, exp(spread)) from N(0, 1), summed over a latent's entries."""
    return (mean**2 + spread.exp() - 1 - spread).sum(1).mean() / 2


def squared_error(images: Tensor, reconstructed: Tensor) -> Tensor:
    """Summed over an image."""
    return ((images - reconstructed) ** 2).flatten(1).sum(1).mean()


def feature_error(real: Tensor, reconstructed: Tensor) -> Tensor:
    """Of (B, C, H, W): summed over channels, mean over places."""
    return ((real - reconstructed) ** 2).sum(1).mean()


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """How badly a reconstruction is told to be of its own image, among those of the queue.

    Other images of the batch are no negatives, so a batch's size does not change the loss.

    Args:
        query: unit vectors (B, D) of reconstructions; key: of their images, without gradient.
        queue: (N, D), keys of other images.

    Source: He et al., Momentum Contrast, arXiv 1911.05722, equation 1.
    """
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    return functional.cross_entropy(logits, logits.new_zeros(len(query), dtype=torch.long))


class Queue(nn.Module):
    """The last ``size`` keys, of which the oldest is overwritten first.

    Until it has been filled once it holds random unit vectors beside them.
    """

    keys: Tensor
    at: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", functional.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Adds (B, D); of more than the queue holds, the last."""
        size = len(self.keys)
        kept = keys[-size:]
        start = int(self.at) + len(keys) - len(kept)
        self.keys[(start + torch.arange(len(kept), device=kept.device)) % size] = kept
        self.at.fill_((start + len(kept)) % size)
