"""Layers and models: gradients, conversion and back, checkpoints, what is refused."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")

from torch import nn  # noqa: E402

from veilform.errors import InputError  # noqa: E402
from veilform.quant import METHODS, LayerPolicy, Policy  # noqa: E402
from veilform.quant.convert import convert, is_step, quantised, to_float  # noqa: E402
from veilform.quant.linear import Int4Linear  # noqa: E402

QUANTISED = METHODS[1:]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


def small_model():
    return nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 3))


@torch.no_grad()
def relative(a, b):
    return float((a - b).norm() / b.norm())


# A first step of 0.6 standard deviations adds an error of 0.6 / sqrt(12) = 0.17 an operand, and
# slightly more where values are uniform: 0.26 for two.
NEAR = {"int8": 0.02}


@pytest.mark.parametrize("method", QUANTISED)
def test_a_layer_is_near_its_float_one(method):
    linear, x = nn.Linear(64, 48), torch.randn(2, 40, 64)
    layer = Int4Linear.of(linear, LayerPolicy(method))
    y = layer(x)
    assert y.shape == (2, 40, 48)
    assert relative(y, linear(x)) < NEAR.get(method, 0.3)
    assert layer.weight is linear.weight
    assert relative(layer.rounded_weight(), linear.weight) < NEAR.get(method, 0.3)


@pytest.mark.parametrize("method", ["lsq", "hq"])
def test_straight_through_gradients_are_those_of_the_products_of_integers(method):
    """With rounding's slope taken as 1, autograd of the same forward gives the same gradients."""
    from veilform.quant.hadamard import transform

    layer = Int4Linear(16, 8, policy=LayerPolicy(method))
    x = torch.randn(12, 16, requires_grad=True)
    upstream = torch.randn(12, 8)
    layer(x).backward(upstream)
    got = [t.grad.clone() for t in (x, *layer.parameters())]
    for t in (x, *layer.parameters()):
        t.grad = None
    group = int(layer.group)

    def through(t, step):
        v = t / step.detach()
        rounded = v.round().clamp(-8, 7)
        by_value = v.clamp(-8, 7)
        # LSQ's gradient of the step, and the identity inside the range.
        slope = (rounded - torch.where((v < -8) | (v > 7), 0, v)).detach()
        scale = (7 * t.numel()) ** -0.5
        grown = step * scale + (step - step * scale).detach()
        return (by_value + (rounded - by_value).detach()) * step.detach() + slope * (
            grown - grown.detach()
        )

    y = (
        through(transform(x, group), layer.step_x)
        @ through(transform(layer.weight, group), layer.step_w).T
    )
    (y + layer.bias).backward(upstream)
    for a, t in zip(got, (x, *layer.parameters()), strict=True):
        assert torch.allclose(a, t.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", QUANTISED)
def test_every_method_learns(method):
    x = torch.randn(256, 24)
    y = (x[:, :3] + x[:, 3:6]).argmax(1)
    model = convert(small_model(), Policy.of(method))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_converting_and_back():
    model, x = small_model(), torch.randn(9, 24)
    before, names = copy.deepcopy(model.state_dict()), list(model.state_dict())
    assert convert(model, Policy()) is model
    assert [name for name, _ in quantised(model)] == ["0", "2"]
    assert [name for name, _ in model.named_parameters() if is_step(name)] == [
        "0.step_x", "0.step_w", "2.step_x", "2.step_w",
    ]  # fmt: skip
    model(x)
    plain = to_float(copy.deepcopy(model), rounded=False)
    assert list(plain.state_dict()) == names
    assert all(torch.equal(plain.state_dict()[n], before[n]) for n in names)
    rounded = to_float(model)
    assert not any(isinstance(module, Int4Linear) for module in rounded.modules())
    assert 0 < relative(rounded[0].weight, before["0.weight"]) < 0.25


def test_a_state_goes_into_another_model():
    model, x = convert(small_model(), Policy.of("hq")), torch.randn(9, 24)
    y = model(x)
    other = convert(small_model(), Policy.of("hq"))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), y)
    assert int(other[0].group) == int(model[0].group) > 1


def test_exported_weights_load_without_our_classes(tmp_path):
    model, x = convert(small_model(), Policy()), torch.randn(5, 24)
    model(x)
    torch.save(to_float(model).state_dict(), tmp_path / "w.pt")
    torch.save((x, model(x)), tmp_path / "x.pt")
    script = f"""
import sys, torch
torch.set_num_threads(1)  # sums in the same order
from torch import nn
m = nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 3))
m.load_state_dict(torch.load(r"{tmp_path}/w.pt"))
x, y = torch.load(r"{tmp_path}/x.pt")
assert torch.equal(m(x), y)
assert not any(name.startswith("veilform") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_policy_loads_without_torch():
    script = "import sys, veilform.quant; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_policies_by_layer():
    policy = Policy(LayerPolicy("int8"), (("2", LayerPolicy("fp32")),))
    model = convert(small_model(), policy)
    assert isinstance(model[0], Int4Linear)
    assert model[0].policy.method == "int8"
    assert type(model[2]) is nn.Linear


def test_bfloat16_inputs_and_autocast():
    layer = Int4Linear(16, 8)
    x = torch.randn(4, 16, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32


def test_frozen_weights_and_no_input_gradient():
    layer = Int4Linear(16, 8)
    layer.requires_grad_(False)
    x = torch.randn(4, 16, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None
    layer.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is not None


def test_no_rows():
    assert Int4Linear(16, 8)(torch.zeros(0, 16)).shape == (0, 8)


@pytest.mark.parametrize(
    ("model", "policy", "message"),
    [
        (nn.Sequential(nn.Linear(15, 4)), Policy(), "layer 0: no power of two above 1 divides"),
        (nn.Sequential(nn.Linear(24, 4)), Policy(LayerPolicy(group=16)), "blocks of 16 do not"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), Policy(), "layer 0 is a Conv2d"),
        (small_model(), Policy(layers=(("x*", LayerPolicy("fp32")),)), "fits no layer"),
        (nn.Linear(4, 4), Policy(), "give the model that holds it"),
    ],
)
def test_what_cannot_be_converted(model, policy, message):
    with pytest.raises(InputError, match=message):
        convert(model, policy)
    assert not list(quantised(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"method": "int3"}, "no method"), ({"group": 24}, "power of two"), ({"keep": 0}, "keep")],
)
def test_wrong_policies(settings, message):
    with pytest.raises(InputError, match=message):
        LayerPolicy(**settings)


def test_a_layer_without_hadamard_takes_any_dimension():
    assert Int4Linear(15, 4, policy=LayerPolicy("lsq+luq"))(torch.randn(3, 15)).shape == (3, 4)
