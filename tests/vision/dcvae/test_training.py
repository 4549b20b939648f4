"""A step of training: what moves, what does not; a cut run goes on as if it had not been cut."""

import json
import struct

import pytest
from tests.vision.dcvae.tiny import snapshot, tiny, torch, trainer

from veilform.errors import InputError, ModelError
from veilform.vision.dcvae import state
from veilform.vision.dcvae.averages import average_all, average_parameters, decay_at
from veilform.vision.dcvae.config import VARIANTS, variant


def moved(before, after, prefix):
    return [k for k in before if k.startswith(prefix) and not torch.equal(before[k], after[k])]


def test_an_average_has_its_buffers():
    source, target = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        source.weight.fill_(3.0)
        source.running_mean.fill_(10.0)
        source.running_var.fill_(5.0)
        source.num_batches_tracked.fill_(7)
    average_all(target, source, 0.75)
    assert target.weight.tolist() == [1.5, 1.5]
    assert target.running_mean.tolist() == [2.5, 2.5]
    assert target.running_var.tolist() == [2.0, 2.0]
    assert int(target.num_batches_tracked) == 7
    average_parameters(target, source, 0.5)
    assert target.weight.tolist() == [2.25, 2.25]
    assert target.running_mean.tolist() == [2.5, 2.5], "the key encoder estimates its own norms"


def test_an_average_leaves_its_start():
    assert decay_at(0, 0.999) == 0.1
    assert decay_at(10**6, 0.999) == 0.999


def test_the_discriminator_s_step_leaves_the_others_alone():
    made = trainer()
    loss = made.discriminator_loss(made._batch())
    loss.backward()
    others = [*made.networks.encoder.parameters(), *made.networks.generator.parameters()]
    assert all(p.grad is None for p in others), "reconstructions are not detached"
    # Heads that tell instances apart are no part of it.
    heads = ("first.", "final.")
    for name, parameter in made.networks.dual.named_parameters():
        assert (parameter.grad is None) == name.startswith(heads), name


def test_encoder_and_generator_move_every_second_step():
    made = trainer(every=2)
    start = snapshot(made)
    assert set(made.advance()) == {"discriminator"}
    first = snapshot(made)
    for part in ("encoder.", "generator."):
        weights = [k for k in moved(start, first, part) if k.endswith(("original", "weight"))]
        assert not weights, "encoder and generator learnt in the discriminator's own step"
    assert moved(start, first, "averaged.") == []
    assert moved(start, first, "dual.")
    told = made.advance()
    assert set(told) == {"discriminator", "divergence", "deceive", "instance"}
    second = snapshot(made)
    for part in ("encoder.", "generator.", "averaged.", "key.", "queues."):
        assert moved(first, second, part), f"{part} does not move"
    assert moved(first, second, "dual.first."), "contrast heads do not learn"
    for name in ("first", "final"):
        keys = second[f"queues.{name}.keys"]
        new = (keys != first[f"queues.{name}.keys"]).any(1)
        assert new.tolist() == [True] * 4 + [False] * 12, "a batch of keys and no more"


def test_deceiving_does_not_train_the_discriminator():
    """Only the instance-level loss may move the dual encoder in the generator's step."""
    made = trainer("dcvae-set", every=1)
    before = snapshot(made)
    made._generate(made._batch())
    after = snapshot(made)
    assert [k for k in moved(before, after, "dual.") if not k.endswith(("_u", "_v"))] == []
    assert moved(before, after, "encoder.")


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_their_losses(name):
    made = trainer(name, every=1)
    told = made.advance()
    wanted = {
        "vae": {"divergence", "pixel"},
        "vae-gan": {"discriminator", "divergence", "deceive", "feature"},
        "dcvae-set": {"discriminator", "divergence", "deceive"},
        "dcvae": {"discriminator", "divergence", "deceive", "instance"},
    }
    assert set(told) == wanted[name]
    assert (made.networks.dual is None) == (name == "vae")
    assert (made.networks.key is None) == (name != "dcvae")


@pytest.mark.parametrize("name", ["vae", "dcvae"])
@pytest.mark.parametrize("cut", [1, 3])
def test_a_cut_run_goes_on_exactly(tmp_path, name, cut):
    whole = trainer(name)
    for _ in range(6):
        last = whole.advance()
    parted = trainer(name)
    for _ in range(cut):
        parted.advance()
    state.save(parted, tmp_path, "images")
    again = trainer(name)
    assert state.resume(again, tmp_path, "images")
    assert again.step == cut
    for _ in range(6 - cut):
        told = again.advance()
    assert told == last
    ours, theirs = snapshot(again), snapshot(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_what_is_not_resumed(tmp_path):
    made = trainer()
    assert not state.resume(made, tmp_path, "images")
    made.advance()
    state.save(made, tmp_path, "images")
    assert state.resume(trainer(steps=99), tmp_path, "images"), "more steps are no other training"
    with pytest.raises(InputError, match="other settings"):
        state.resume(trainer(rate=1e-3), tmp_path, "images")
    with pytest.raises(InputError, match="other images"):
        state.resume(made, tmp_path, "others")
    path = tmp_path / state.STATE
    content = path.read_bytes()
    for broken in (content[:100], b"", content[:-8], _without_facts(content)):
        path.write_bytes(broken)
        with pytest.raises(ModelError, match="is broken"):
            state.resume(trainer(), tmp_path, "images")


def _without_facts(content):
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    del header["__metadata__"]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def test_divergence_is_told():
    made = trainer("vae", every=1)
    with torch.no_grad():
        made.networks.encoder.mean.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="diverged at step 1"):
        made.advance()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"size": 24}, "power of two"),
        ({"size": 8}, "power of two"),
        ({"channels": 0}, "channels"),
        ({"batch": 1}, "batch"),
        ({"momentum": 1.0}, "momentum"),
        ({"every": 0}, "every"),
    ],
)
def test_configs_that_make_no_sense(wrong, why):
    with pytest.raises(InputError, match=why):
        tiny(**wrong)


def test_losses_that_need_each_other():
    with pytest.raises(InputError, match="needs a pixel loss"):
        tiny("vae", pixel=0.0)
    with pytest.raises(InputError, match="adversarial"):
        tiny("vae", instance=0.5)
    with pytest.raises(InputError, match="no variant 'gan'"):
        variant("gan")


def test_larger_images_have_more_cells_and_blocks():
    for size, cells, blocks in ((16, 2, 3), (32, 3, 4), (64, 4, 5), (128, 5, 6)):
        config = tiny(size=size)
        assert (config.cells, config.halvings + 2) == (cells, blocks)
