"""From pictures to a compressed network that a server answers with: tiny, a few steps."""

import json

import numpy as np
import pytest
from tests.models.networks import SMALL_MOBILENET, random_tensors
from tests.serve.deployment import serving

from veilform.errors import InputError
from veilform.models.vision.config import MobileNetV2
from veilform.models.vision.merging import merge, with_merged
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.sides import ImageBatch, ServerSide

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("accelerate", reason="needs veilform[train] (accelerate)")

from veilform.vision import compressing, data, folder, pruning, training  # noqa: E402

FAMILY = MobileNetV2(12, 12, 1, 3, ((1, 4, 1, 1), (3, 6, 2, 2)), 4, 2, 8)
TENSORS = random_tensors(SMALL_MOBILENET.network())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The search


def test_a_kept_activation_is_relu6_and_a_pruned_one_nothing():
    x = torch.linspace(-3, 9, 25, requires_grad=True)
    slope = torch.ones((), requires_grad=True)
    for kept in (True, False):
        x.grad = slope.grad = None
        y = pruning._Gate.apply(x, slope, kept)
        active = x.detach().clamp(0, 6)
        assert torch.equal(y.detach(), active if kept else x.detach())
        (y * torch.arange(25)).sum().backward()
        inside = (x.detach() == active).float() if kept else torch.ones(25)
        assert torch.equal(x.grad, inside * torch.arange(25))
        # As if y = slope ReLU6(x) + (1 - slope) x.
        assert torch.allclose(slope.grad, ((active - x.detach()) * torch.arange(25)).sum())


def test_the_largest_slopes_keep_their_activations():
    counts, saved = {1: 40, 2: 30, 3: 20, 4: 10}, {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
    slopes = {1: 0.9, 2: 1.0, 3: 0.5, 4: 0.7}
    assert pruning.chosen(slopes, counts, saved, 1.0) == {1, 2, 3, 4}
    assert pruning.chosen(slopes, counts, saved, 0.7) == {1, 2}
    assert pruning.chosen(slopes, counts, saved, 0.6) == {2, 4, 3}, "block 1 is too large"
    assert pruning.chosen(slopes, counts, saved, 0.05) == set()
    assert pruning.chosen(slopes, counts, saved, 0.0) == set()
    equal = dict.fromkeys(counts, 1.0)
    assert pruning.chosen(equal, counts, saved, 0.3) == {4, 3}, "of equals, the cheap ones"


def test_shares_of_bytes_are_those_of_the_traces():
    shares = pruning.saved_shares(SMALL_MOBILENET, TENSORS, 1.0)
    whole = pruning.foreseen(SMALL_MOBILENET, TENSORS, 1.0).total.online_bytes
    assert set(shares) == {1, 2, 3}
    for number, share in shares.items():
        one = pruning.foreseen(with_merged(SMALL_MOBILENET, {number}), TENSORS, 1.0)
        assert share == pytest.approx(1 - one.total.online_bytes / whole)
        assert 0 < share < 1
    counts = pruning.inner_activations(SMALL_MOBILENET)
    assert counts == {1: 100 * 4, 2: 100 * 8 + 25 * 8, 3: 25 * 12 * 2}


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_search_computes_the_pruned_network(keep):
    """Without ReLU6 behind pruned blocks, which comes with the fine-tuning."""
    search = pruning.Search(SMALL_MOBILENET, TENSORS, 1.0, keep, 0.1, 0.01).eval()
    kept = search.kept()
    assert kept == pruning.chosen(
        dict.fromkeys(search.counts, 1.0), search.counts, search.saved, keep
    )
    family = with_merged(SMALL_MOBILENET, set(search.counts) - kept)
    trained = family.unmerged()
    bare = trained.__class__(
        trained.image,
        tuple(
            s.__class__(s.name, s.branches, "none" if s.name.endswith(".down") else s.activation)
            for s in trained.steps
        ),
        trained.head,
        trained.classes,
    )
    images = np.random.default_rng(0).uniform(-1, 1, (2, *trained.image))
    with torch.no_grad():
        found = search(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
    np.testing.assert_allclose(found, PlainNetwork(bare, TENSORS).forward(images), atol=1e-4)


def test_slopes_learn_and_pay():
    search = pruning.Search(SMALL_MOBILENET, TENSORS, 1.0, 0.5, 2.0, 0.03)
    search.train()
    loss = search(torch.randn(4, 3, 10, 10)).square().mean()
    loss.backward()
    assert torch.all(search.slopes.grad != 0), "each slope gets a gradient, kept or not"
    search.slopes.grad = None
    search.penalty().backward()
    assert torch.allclose(search.slopes.grad, 2.0 * search.shares)
    weights, slopes = search.groups(0.1)
    assert slopes["params"] == [search.slopes]
    assert slopes["lr"] == 0.03
    assert slopes["weight_decay"] == 0
    assert len(weights["params"]) == len(list(search.parameters())) - 1


@pytest.mark.parametrize("keep", [-0.1, 1.1, float("nan")])
def test_a_share_is_from_0_to_1(keep):
    with pytest.raises(InputError, match="from 0 to 1"):
        pruning.check_keep(keep)


# The whole way


STAGE = training.Stage("base", epochs=6, batch_size=16)


@pytest.fixture(scope="module")
def base(npz, tmp_path_factory):
    """The folder of a trained network."""
    out = tmp_path_factory.mktemp("vision") / "base"
    figures = compressing.train(FAMILY, data.load(str(npz)), STAGE, out)
    assert figures["test"]["accuracy"] > 0.9
    return out


@pytest.fixture
def trained(npz, base):
    """Pictures, and a network trained on them."""
    return data.load(str(npz)), folder.read(base)


def test_a_compressed_network_is_served(trained, tmp_path, party_identities):
    pictures, model = trained
    recipe = compressing.Recipe(epochs=4, batch_size=16)
    out = tmp_path / "small"
    figures = compressing.compress(model, pictures, 0.5, recipe, out)
    assert figures["merging_changes_logits_by"] < 1e-4
    assert figures["test"]["accuracy"] > 0.9
    assert 0 < len(figures["merged_blocks"]) < 3
    assert figures["cost"]["online_bytes"] < figures["teacher_cost"]["online_bytes"]
    config = json.loads((out / "config.json").read_text())
    assert config["merged"] == figures["merged_blocks"]
    assert config["id2label"] == {"0": "0", "1": "1", "2": "2"}
    assert json.loads((out / "training.json").read_text()) == json.loads(json.dumps(figures))
    assert f"{100 * figures['test']['accuracy']:.2f} %" in (out / "README.md").read_text()
    # The served folder answers, with the labels that were measured.
    normal = folder.read(out).normal
    side = ServerSide(out, normal.largest)
    images = compressing.normalised(pictures.test.first(4), normal)
    with serving(side, party_identities, tmp_path) as running, running.client() as client:
        logits, _ = client.infer(ImageBatch(images))
    wanted = PlainNetwork.load(out).forward(images)
    assert np.abs(logits - wanted).max() < 0.01
    assert (logits.argmax(1) == pictures.test.labels[:4]).all()


def test_a_finished_stage_is_not_run_again_and_a_cut_one_goes_on(trained, base, tmp_path):
    pictures, wanted = trained
    again = compressing.train(FAMILY, pictures, STAGE, base)
    done = json.loads((base / "stages" / "base" / "done.json").read_text())
    assert again["stages"]["base"] == done
    with pytest.raises(InputError, match="other settings, data or weights"):
        compressing.train(FAMILY, pictures.limited(50), STAGE, base)
    # Killed after its second epoch, it ends with the same weights.
    cut = tmp_path / "cut"

    class Kill(training.TrainerCallback):
        def on_epoch_begin(self, args, state, control, **_):
            if state.epoch >= 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compressing.train(FAMILY, pictures, STAGE, cut, (Kill(),))
    figures = compressing.train(FAMILY, pictures, STAGE, cut)
    assert figures["stages"]["base"]["resumed"]
    assert len(figures["stages"]["base"]["curve"]) == STAGE.epochs
    for name, value in folder.read(cut).tensors.items():
        np.testing.assert_allclose(value, wanted.tensors[name], atol=1e-5, err_msg=name)


def test_everything_pruned_and_nothing(trained, tmp_path):
    pictures, model = trained
    recipe = compressing.Recipe(epochs=1, lr=0.01, batch_size=32)
    nothing = compressing.compress(model, pictures, 1.0, recipe, tmp_path / "whole")
    assert nothing["merged_blocks"] == []
    assert "search" not in nothing["stages"]
    everything = compressing.compress(model, pictures, 0.0, recipe, tmp_path / "none")
    assert everything["merged_blocks"] == [1, 2, 3]
    assert len(PlainNetwork.load(tmp_path / "none").network.steps) == 5


def test_the_merged_tensors_are_the_trained_ones_folded(trained, tmp_path):
    pictures, model = trained
    recipe = compressing.Recipe(epochs=1, lr=0.01, batch_size=32)
    compressing.compress(model, pictures, 0.0, recipe, tmp_path / "none")
    from safetensors.numpy import load_file

    stage = load_file(tmp_path / "none" / "stages" / "fine-tune" / "best.safetensors")
    served = folder.read(tmp_path / "none")
    made = merge(served.family, {n: v for n, v in stage.items() if "batches" not in n})
    for name, value in served.tensors.items():
        np.testing.assert_allclose(value, made[name], atol=1e-6, err_msg=name)


# The commands


def test_the_commands(veilform, npz, tmp_path):
    base, small = tmp_path / "first", tmp_path / "second"
    quick = ["--batch-size", 16, "--examples", 32, "--epochs", 1, "--threads", 1]
    code, out, err = veilform("train-images", "--data", npz, "--out", base, *quick)
    assert code == 0, err
    assert "held-out pictures are right" in out
    assert "veilform compress" in out
    code, out, err = veilform(
        "compress", base, "--keep", 0.5, "--data", npz, "--out", small, *quick, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["merged_blocks"]
    ServerSide(small)


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        (["--keep", 1.5], 2, "--keep"),
        (["--keep", "much"], 2, "--keep"),
        (["--data", "nowhere"], 2, "no data in 'nowhere'"),
        (["--epochs", 0], 2, "--epochs"),
    ],
)
def test_what_cannot_be_done_is_told(veilform, base, tmp_path, options, code, why):
    found, out, err = veilform("compress", base, "--out", tmp_path / "x", *options)
    assert (found, out) == (code, "")
    assert why in err


def test_networks_that_cannot_be_compressed(veilform, npz, tmp_path):
    given, out = tmp_path / "given", tmp_path / "resnet"
    given.mkdir()
    config = {"family": "resnet", "height": 12, "width": 12, "channels": 1, "classes": 3,
              "depths": [1], "widths": [4], "small": True}  # fmt: skip
    (given / "config.json").write_text(json.dumps(config))
    code, _, err = veilform("train-images", "--config", given, "--data", npz, "--out", out,
                            "--epochs", 1, "--threads", 1)  # fmt: skip
    assert code == 0, err
    assert json.loads((out / "clips.json").read_text()), "its ReLUs are clipped"
    code, _, err = veilform("compress", out, "--data", npz, "--out", tmp_path / "x")
    assert code == 3
    assert "no inverted residual blocks" in err
    code, _, err = veilform("compress", tmp_path / "none", "--out", tmp_path / "x")
    assert code == 3
    assert "no folder" in err
    config["classes"] = 5
    (given / "config.json").write_text(json.dumps(config))
    code, _, err = veilform("train-images", "--config", given, "--data", npz, "--out", out)
    assert code == 2
    assert "has 3 classes" in err


def test_what_would_be_lost_or_cannot_be_trained_is_refused(veilform, npz, tmp_path):
    """Before anything is written: the corrected command goes through."""
    full, new = tmp_path / "full", tmp_path / "new"
    full.mkdir()
    (full / "model.safetensors").write_text("another's")
    for out, options, why in (
        (full, (), "is not empty"),
        (new, ("--seed", -1), "--seed"),
        (new, ("--lr", -1), "learning rate"),
        (new, ("--lr", "nan"), "learning rate"),
    ):
        code, _, complaint = veilform("train-images", "--data", npz, "--out", out, *options)
        assert (code, why in complaint) == (2, True), complaint
    assert (full / "model.safetensors").read_text() == "another's"
    assert not new.exists()
