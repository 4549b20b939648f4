"""A model's folder: config.json, and a checkpoint folder for each network.

``encoder`` and ``decoder`` are networks of ``veilform.models.vision``, which are served as any
other: weights are divided by their spectral norms, and the decoder's are the averaged ones.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from veilform.models import checkpoint
from veilform.models.checkpoint import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, Checkpoint
from veilform.models.vision import generative
from veilform.vision.dcvae import config as configs
from veilform.vision.dcvae.config import Config
from veilform.vision.dcvae.training import Networks

ENCODER, DECODER, DUAL = "encoder", "decoder", "dual"


def families(config: Config) -> dict[str, generative.Family]:
    """The networks that can be served, by folder."""
    return {
        ENCODER: generative.Encoder(config.size, config.channels, config.latent, config.encoder),
        DECODER: generative.Decoder(config.size, config.channels, config.latent, config.generator),
    }


def save(
    folder: Path, config: Config, encoder: nn.Module, generator: nn.Module, dual: nn.Module | None
) -> None:
    """Writes all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_bytes(_json(config))
    for name, family in families(config).items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / CONFIG).write_bytes(_json(family))
    _write(folder / ENCODER, _without_pooled_norm(encoder, _plain(encoder)))
    _write(folder / DECODER, _plain(generator))
    if dual is not None:
        (folder / DUAL).mkdir(exist_ok=True)
        (folder / DUAL / CONFIG).write_bytes(_json(config))
        _write(folder / DUAL, _plain(dual))


def load(folder: Path) -> tuple[Config, Networks]:
    """What :func:`save` wrote. What only training has is as it was before it.

    Raises:
        ModelError: the folder holds no such model, or it is broken.
    """
    content = checkpoint.read_bytes(folder, CONFIG, MAX_CONFIG_BYTES)
    config = configs.read(content, str(folder / CONFIG))
    # Neither the key encoder nor queues are used any more.
    networks = Networks(msgspec.structs.replace(config, instance=0.0))
    networks.averaged.load_state_dict(_read(folder / DECODER, networks.averaged))
    without_norms(networks.encoder)
    # The norm of pooled features is in the layers behind it.
    norm = networks.encoder.norm
    norm.running_var.fill_(1 - norm.eps)
    networks.encoder.load_state_dict(_read(folder / ENCODER, networks.encoder))
    if networks.dual is not None:
        without_norms(networks.dual)
        networks.dual.load_state_dict(_read(folder / DUAL, networks.dual))
    return config, networks


def without_norms(network: nn.Module) -> nn.Module:
    """Makes each spectrally normalised weight a plain one; in place."""
    for part in network.modules():
        if parametrize.is_parametrized(part):
            parametrize.remove_parametrizations(part, "weight")
    return network


def _plain(network: nn.Module) -> dict[str, Tensor]:
    """Its tensors with plain weights; the network stays as it is, and is in evaluation."""
    found = {n: v for n, v in network.state_dict().items() if ".parametrizations." not in n}
    for name, part in network.named_modules():
        if parametrize.is_parametrized(part):
            found[name + ".weight"] = part.weight
    return {name: value.detach().cpu().contiguous() for name, value in found.items()}


def _without_pooled_norm(encoder: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors with the norm before its last layers folded into them."""
    found = {name: value for name, value in tensors.items() if not name.startswith("norm.")}
    mean, variance = (tensors[f"norm.running_{part}"] for part in ("mean", "var"))
    gain = (variance + encoder.norm.eps).rsqrt()
    for name in ("mean", "spread"):
        weight = tensors[name + ".weight"] * gain
        found |= {name + ".weight": weight, name + ".bias": tensors[name + ".bias"] - weight @ mean}
    return found


def _write(folder: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, folder / WEIGHTS)


def _read(folder: Path, network: nn.Module) -> dict[str, Tensor]:
    expected = network.state_dict()
    shapes = {
        name: tuple(value.shape)
        for name, value in expected.items()
        if value.is_floating_point() and (folder.name, name.split(".")[0]) != (ENCODER, "norm")
    }
    stored = Checkpoint.open(folder)
    stored.require(shapes)
    found = {name: torch.from_numpy(value.copy()) for name, value in stored.load(shapes).items()}
    # Counts of batches matter to training alone, and the encoder's norm is none.
    return {name: found.get(name, value) for name, value in expected.items()}


def _json(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
