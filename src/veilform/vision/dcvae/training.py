"""One step of training after another, from any state to the next."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from veilform.errors import InputError
from veilform.vision.dcvae import losses
from veilform.vision.dcvae.averages import average_all, average_parameters, decay_at
from veilform.vision.dcvae.config import Config
from veilform.vision.dcvae.networks import DualEncoder, Encoder, Generator

FEATURES = ("first", "final")
"""Of the dual encoder, those that the instance-level loss reads."""


class Networks(nn.Module):
    """All that is trained, averaged or remembered.

    Attributes:
        averaged: the generator's moving average, which samples are drawn from.
        dual: None without an adversarial loss.
        key: the dual encoder's moving average; queues: its features of past images, by name. Both
            are None without an instance-level loss.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoder, self.generator = Encoder(config), Generator(config)
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False)
        self.dual = DualEncoder(config) if config.adversarial else None
        self.key = self.queues = None
        if config.instance:
            self.key = copy.deepcopy(self.dual).requires_grad_(False)
            self.queues = nn.ModuleDict(
                {name: losses.Queue(config.queue, config.contrast) for name in FEATURES}
            )


class Trainer:
    """Trains on images (N, C, H, W) of uint8.

    Attributes:
        step: how many were made.
        random: draws batches and latents; nothing else draws anything.
    """

    def __init__(self, config: Config, images: Tensor, device: str | None = None) -> None:
        self.config, self.images, self.step = config, images, 0
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.networks = Networks(config).to(self.device)
        self.random = torch.Generator().manual_seed(config.seed)
        both = (self.networks.encoder, self.networks.generator)
        self.main_parameters = [p for network in both for p in network.parameters()]
        self.main = self._adam(self.main_parameters)
        dual = self.networks.dual
        self.dual_parameters = [] if dual is None else list(dual.parameters())
        self.discriminating = self._adam(self.dual_parameters) if dual is not None else None

    def _adam(self, parameters: list[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=self.config.rate, betas=self.config.betas)

    def advance(self) -> dict[str, float]:
        """One step. Returns its losses by name.

        Raises:
            InputError: a loss is no number any more.
        """
        config, images = self.config, self._batch()
        found: dict[str, Tensor] = {}
        if config.adversarial:
            found["discriminator"] = self._discriminate(images)
        if self.step % config.every == config.every - 1:
            found |= self._generate(images)
            updates = self.step // config.every
            decay = decay_at(updates, config.average)
            average_all(self.networks.averaged, self.networks.generator, decay)
        if self.networks.key is not None and self.networks.dual is not None:
            decay = decay_at(self.step, config.momentum)
            average_parameters(self.networks.key, self.networks.dual, decay)
        self.step += 1
        numbers = {name: float(value) for name, value in found.items()}
        if any(value != value for value in numbers.values()):
            raise InputError(
                f"training diverged at step {self.step}: {numbers}; start again with a lower rate"
            )
        return numbers

    def _batch(self) -> Tensor:
        """Images in [-1, 1], drawn at random."""
        at = torch.randint(len(self.images), (self.config.batch,), generator=self.random)
        return self.images[at].to(self.device).float() / 127.5 - 1

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.random).to(self.device)

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.config.bf16):
            yield

    def _made(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior's mean and log variance, and images of prior and posterior, in this order.

        Both halves pass the generator together, so batch norm has one set of statistics.
        """
        mean, spread = (each.float() for each in self.networks.encoder(images))
        latents = mean + (spread / 2).exp() * self._normal(*mean.shape)
        if self.config.adversarial:
            latents = torch.cat([self._normal(*mean.shape), latents])
        return mean, spread, self.networks.generator(latents)

    def discriminator_loss(self, images: Tensor) -> Tensor:
        """The set-level loss; samples and reconstructions are constants to it."""
        assert self.networks.dual is not None
        with self._arithmetic():
            with torch.no_grad():
                made = self._made(images)[2].to(images.dtype)
            scores = self.networks.dual(torch.cat([images, made])).real
        return losses.hinge(*scores.float().chunk(3))

    def _discriminate(self, images: Tensor) -> Tensor:
        assert self.discriminating is not None
        self.discriminating.zero_grad(set_to_none=True)
        loss = self.discriminator_loss(images)
        loss.backward()
        self.discriminating.step()
        return loss.detach()

    def generator_losses(self, images: Tensor) -> dict[str, Tensor]:
        """By name, weighted; keys join their queues."""
        config, networks = self.config, self.networks
        with self._arithmetic():
            mean, spread, made = self._made(images)
            seen = None if networks.dual is None else networks.dual(made)
        count = len(images)
        found = {"divergence": config.kl * losses.divergence(mean, spread)}
        if config.pixel:
            found["pixel"] = config.pixel * losses.squared_error(images, made[-count:].float())
        if seen is None or networks.dual is None:
            return found
        scores = seen.real.float()
        found["deceive"] = losses.deceive(scores[:count], scores[count:])
        if config.feature:
            with self._arithmetic(), torch.no_grad():
                real = networks.dual(images).features
            ours = seen.features[count:].float()
            found["feature"] = config.feature * losses.feature_error(real.float(), ours)
        if config.instance:
            found["instance"] = config.instance * self._instance(images, seen)
        return found

    def _instance(self, images: Tensor, seen: Any) -> Tensor:
        assert self.networks.key is not None
        assert self.networks.queues is not None
        with self._arithmetic(), torch.no_grad():
            keys = self.networks.key(images)
        total = torch.zeros((), device=self.device)
        for name in FEATURES:
            query = getattr(seen, name)[len(images) :].float()
            key, queue = getattr(keys, name).float(), self.networks.queues[name]
            kept = queue.keys.clone()
            total = total + losses.info_nce(query, key, kept, self.config.temperature)
            queue.push(key)
        return total

    def _generate(self, images: Tensor) -> dict[str, Tensor]:
        """A step of encoder and generator, and of the dual encoder on the instances alone."""
        self.main.zero_grad(set_to_none=True)
        found = self.generator_losses(images)
        if "instance" in found:
            assert self.discriminating is not None
            gradients = torch.autograd.grad(
                found["instance"], self.dual_parameters, retain_graph=True, allow_unused=True
            )
            for parameter, gradient in zip(self.dual_parameters, gradients, strict=True):
                parameter.grad = gradient
        total = torch.stack(list(found.values())).sum()
        torch.autograd.backward(total, inputs=self.main_parameters)
        self.main.step()
        if "instance" in found:
            assert self.discriminating is not None
            self.discriminating.step()
        return {name: value.detach() for name, value in found.items()}
