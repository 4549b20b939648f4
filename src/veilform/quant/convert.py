"""A model's linear layers, into layers of small integers and back."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import torch
from torch import nn

from veilform.errors import InputError
from veilform.quant.linear import Int4Linear
from veilform.quant.policy import Policy

#: Layers that multiply by weights and that nothing here computes (by the name of their class).
UNSUPPORTED = (
    "Bilinear", "Conv1D", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
    "ConvTranspose3d", "GRU", "GRUCell", "LSTM", "LSTMCell", "MultiheadAttention",
    "NonDynamicallyQuantizableLinear", "RNN", "RNNCell",
)  # fmt: skip


def convert(model: nn.Module, policy: Policy) -> nn.Module:
    """Put ``Int4Linear`` in the place of linear layers, as the policy says; returns the model.

    Parameters stay the same objects. Layers with the method fp32 stay what they are.

    Raises:
        InputError: a layer of another kind multiplies by weights and is not fp32 in the policy; a
            pattern fits no layer; or no Hadamard block divides a dimension. Nothing is changed.
    """
    made: dict[str, Int4Linear] = {}
    seen: list[str] = []
    for name, module in model.named_modules():
        linear = isinstance(module, nn.Linear) and type(module).__name__ not in UNSUPPORTED
        if not linear and type(module).__name__ not in UNSUPPORTED:
            continue
        seen.append(name)
        layer = policy.at(name)
        if layer.method == "fp32":
            continue
        if not name:
            raise InputError("a layer cannot take its own place: give the model that holds it")
        if not linear:
            raise InputError(
                f"layer {name} is a {type(module).__name__}, for which there is no {layer.method}: "
                "name it in the policy with the method fp32"
            )
        try:
            made[name] = Int4Linear.of(module, layer)
        except InputError as error:
            raise InputError(f"layer {name}: {error}") from None
    for pattern, _ in policy.layers:
        if not any(fnmatchcase(name, pattern) for name in seen):
            raise InputError(f"the policy's pattern {pattern!r} fits no layer")
    for name, layer in made.items():
        _put(model, name, layer)
    return model


def to_float(model: nn.Module, rounded: bool = True) -> nn.Module:
    """Plain ``nn.Linear`` again; returns the model.

    Args:
        rounded: with the weights that the integer products used, in float; else with the float
            weights behind them.
    """
    for name, layer in list(quantised(model)):
        plain = nn.Linear(
            layer.in_features, layer.out_features, layer.bias is not None,
            device=layer.weight.device,
        )  # fmt: skip
        plain.weight, plain.bias = layer.weight, layer.bias
        if rounded:
            with torch.no_grad():
                plain.weight.copy_(layer.rounded_weight())
        plain.train(layer.training)
        _put(model, name, plain)
    return model


def quantised(model: nn.Module) -> Iterator[tuple[str, Int4Linear]]:
    """The names and layers that ``convert`` made."""
    for name, module in model.named_modules():
        if isinstance(module, Int4Linear):
            yield name, module


def is_step(name: str) -> bool:
    """Whether a parameter of this name is a learned step: it takes no weight decay."""
    return name.rsplit(".", 1)[-1] in ("step_x", "step_w")


def _put(model: nn.Module, name: str, layer: nn.Module) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, layer)
