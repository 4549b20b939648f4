"""A training as a file, so that a run that was cut goes on as if it had not been.

All of it is tensors: networks with their buffers and queues, both optimisers, the random state.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from veilform.errors import InputError, ModelError
from veilform.files import replacing
from veilform.vision.dcvae.config import Config
from veilform.vision.dcvae.training import Trainer

STATE = "training.safetensors"


class _Facts(msgspec.Struct):
    """What a state is of."""

    config: Config
    images: str
    step: int


def digest(images: Tensor) -> str:
    """Of a data set: a training goes on with its own images only."""
    content = images.contiguous().numpy()
    return hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).hexdigest()


def save(trainer: Trainer, folder: Path, images: str) -> None:
    """Writes it, whole or not at all.

    Args:
        images: digest of the data.
    """
    from safetensors.torch import save_file

    facts = _Facts(trainer.config, images, trainer.step)
    with replacing(folder / STATE) as part:
        save_file(_tensors(trainer), part, {"facts": msgspec.json.encode(facts).decode()})


def resume(trainer: Trainer, folder: Path, images: str) -> bool:
    """Takes up what the folder holds; False if that is nothing.

    Raises:
        InputError: it is of another config (steps may differ) or of other images.
        ModelError: it is broken.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE
    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            facts = msgspec.json.decode((file.metadata() or {})["facts"], type=_Facts)
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} is broken: {error}; remove it to train from the start") from None
    steps = trainer.config.steps
    if msgspec.structs.replace(facts.config, steps=steps) != trainer.config:
        raise InputError(f"{folder} holds a training with other settings; choose another folder")
    if facts.images != images:
        raise InputError(f"{folder} holds a training on other images; choose another folder")
    try:
        _restore(trainer, found)
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path} is broken: {error}; remove it to train from the start") from None
    trainer.step = facts.step
    return True


def _optimisers(trainer: Trainer) -> dict[str, torch.optim.Adam]:
    found = {"main": trainer.main}
    if trainer.discriminating is not None:
        found["dual"] = trainer.discriminating
    return found


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    found = {f"networks.{k}": v for k, v in trainer.networks.state_dict().items()}
    for name, optimiser in _optimisers(trainer).items():
        for index, values in optimiser.state_dict()["state"].items():
            found |= {f"{name}.{index}.{key}": value for key, value in values.items()}
    found["random"] = trainer.random.get_state()
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def _restore(trainer: Trainer, found: dict[str, Tensor]) -> None:
    def under(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in found.items() if k.startswith(prefix)}

    trainer.networks.load_state_dict(under("networks."))
    for name, optimiser in _optimisers(trainer).items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in under(f"{name}.").items():
            index, entry = key.split(".")
            state.setdefault(int(index), {})[entry] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    trainer.random.set_state(found["random"])
