"""Parallel plans: what is refused, and real processes (gloo) that do what one process does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilform import cli
from veilform.distill.ranks.layout import Layout
from veilform.errors import InputError

from .ranks_worker import CASES, without_key_biases

WORKER = Path(__file__).with_name("ranks_worker.py")
PATIENCE_S = 240


def torchrun(processes, *arguments, check=True):
    """Start processes on this machine; none outlives a test, even one that is stuck."""
    pytest.importorskip("torch", reason="needs veilform[train] (torch)")
    pytest.importorskip("transformers", reason="needs veilform[train]")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [
            "timeout", "--kill-after=5", str(PATIENCE_S),
            *launcher, f"--nproc-per-node={processes}", *map(str, arguments),
        ],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module", params=sorted(CASES))
def compared(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks") / "figures.json"
    torchrun(request.param, WORKER, "layouts", out, request.param)
    return request.param, json.loads(out.read_text())


def test_every_layout_trains_as_one_process(compared):
    """20 steps of labels and a teacher's logits: losses, norms, weights, the saved folder.

    And with dropout, ranks that hold the same tensors keep them the same.
    """
    world, figures = compared
    assert figures["drift"] == 0.0
    figures = figures["layouts"]
    assert set(figures) == set(CASES[world])
    for name, apart in figures.items():
        assert len(apart["losses"]) == 20
        assert apart["loss"] < 1e-5, name
        assert apart["norm"] < 1e-4, name
        assert apart["weights"] < 1e-4, name
        assert apart["saved"] < 1e-4, name


def test_ranks_sit_where_the_plan_places_them(compared):
    world, figures = compared
    first = next(iter(CASES[world].values())).layout
    assert {apart["device"] for apart in figures["layouts"].values()} == {
        (first.placement or (0,))[0]
    }


def write_plan(path, **plan):
    path.write_text(json.dumps({"tp": 1, "dp": 1, "pp": 1, "micro_batch": 2, **plan}))
    return path


def test_a_killed_run_goes_on_even_by_another_plan(tmp_path):
    """A part of each epoch by each kind of plan ends where a Trainer on one device does.

    All losses: embeddings, layers, scores, logits, labels, ranges. The last batch of an epoch is
    short: under dp 2 the second replica has nothing of it.
    """
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    plans = ({"pp": 2, "cuts": [1, 3]}, {"tp": 2}, {"dp": 2, "micro_batch": 4})
    for epoch, kind in enumerate(plans, start=1):
        plan = write_plan(tmp_path / "plan.json", **kind)
        last = epoch == len(plans)
        done = torchrun(2, WORKER, "stage", parts, plan, 0 if last else epoch, check=last)
        assert (done.returncode == 0) == last
        kept = "done.json" if last else f"shards-{epoch}"
        assert {path.name for path in parts.iterdir()} == {"best.safetensors", kept}
    torchrun(1, WORKER, "stage", whole, "trainer", 0)

    ours, theirs = (json.loads((path / "done.json").read_text()) for path in (parts, whole))
    assert ours["resumed"]
    assert [point["step"] for point in ours["curve"]] == [6, 12, 18]
    for our, their in zip(ours["curve"], theirs["curve"], strict=True):
        assert our["loss"] == pytest.approx(their["loss"], abs=1e-4)
        assert our["accuracy"] == their["accuracy"]
    from safetensors.torch import load_file

    ours, theirs = (load_file(path / "best.safetensors") for path in (parts, whole))
    assert set(ours) == set(theirs)
    for name, value in without_key_biases(theirs).items():
        assert ours[name].sub(value).abs().max() < 1e-4, name


def test_a_distillation_by_a_plan(files, teacher_folder, tmp_path):
    """The teacher's fine-tuning and both stages of the student."""
    plan = write_plan(tmp_path / "plan.json", pp=2, placement=[1, 0], score=0.5)
    out = tmp_path / "out"
    done = torchrun(
        2, "-m", "veilform", "distill", "--teacher", teacher_folder, "--out", out, "--plan", plan,
        "--train", files / "train.jsonl", "--dev", files / "dev.jsonl", "--epochs", 1,
        "--stage2-epochs", 1, "--teacher-epochs", 2, "--max-tokens", 16, "--no-bf16",
        "--threads", 1, "--json",
    )  # fmt: skip
    figures = json.loads(done.stdout[done.stdout.index("{") :])
    assert figures == json.loads((out / "training.json").read_text())
    tuned = figures["teacher"]["fine_tuning"]
    assert (tuned["layout"]["pp"], tuned["layout"]["placement"]) == (2, [1, 0])
    stages = figures["student"]["stages"]
    assert [stage["layout"]["pp"] for stage in stages] == [2, 2]
    # 64 texts, 32 in a step on both devices together.
    assert [point["step"] for point in tuned["curve"]] == [2, 4]
    assert [point["step"] for point in stages[0]["curve"]] == [2]


@given(st.integers(1, 40), st.data())
def test_cuts_share_out_all_layers(layers, data):
    parts = data.draw(st.integers(1, layers))
    spans = Layout(pp=parts).spans(layers)
    assert [i for span in spans for i in span] == list(range(layers))
    assert max(map(len, spans)) - min(map(len, spans)) <= 1
    cuts = tuple(map(len, spans))
    assert Layout(pp=parts, cuts=cuts).spans(layers) == spans


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"tp": 0}, "tp must be 1 or more"),
        ({"pp": 2, "cuts": [4]}, "as many cuts"),
        ({"pp": 2, "cuts": [4, 0]}, "every part of a pipeline needs a layer"),
        ({"dp": 2, "placement": [1, 1]}, "devices 0 to 1 once"),
        ({"tp": "2"}, "tp must be a whole number"),
        ({"tp": True}, "tp must be a whole number"),
        ({"cuts": "4"}, "cuts must be a list of whole numbers"),
        ({"tp": None}, "tp must be a whole number"),
    ],
)
def test_plans_that_are_refused(tmp_path, plan, message):
    with pytest.raises(InputError, match=message):
        Layout.from_json(write_plan(tmp_path / "plan.json", **plan))


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", '{"tp": 1}'])
def test_files_that_are_no_plan(tmp_path, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(InputError, match="is no plan"):
        Layout.from_json(tmp_path / "plan.json")
    with pytest.raises(InputError, match="is no plan"):
        Layout.from_json(tmp_path / "none.json")


def test_plans_that_do_not_fit():
    with pytest.raises(InputError, match=r"cuts \[1, 2\] add up to 3 layers, the model has 4"):
        Layout(pp=2, cuts=(1, 2)).spans(4)
    with pytest.raises(InputError, match="a model of 2 layers has no 3 parts"):
        Layout(pp=3).spans(2)
    with pytest.raises(InputError, match="12 heads cannot be shared by tp 8"):
        Layout(tp=8).check_widths([("heads", 12)])
    with pytest.raises(InputError, match=r"a batch of 30 .* take 24 or 36"):
        Layout(dp=3, micro_batch=4).check_batch(30)
    Layout(dp=3, micro_batch=4).check_batch(36)


def test_the_command_checks_the_plan_first(tmp_path):
    plan = write_plan(tmp_path / "plan.json", dp=3)
    arguments = ["distill", "--teacher", tmp_path, "--out", tmp_path / "out", "--plan", plan]
    with pytest.raises(InputError, match="a batch of 32 texts is no multiple of dp 3"):
        cli.app([str(a) for a in arguments], standalone_mode=False)


def test_too_few_processes():
    pytest.importorskip("torch", reason="needs veilform[train] (torch)")
    from veilform.distill.ranks.connect import connect

    with pytest.raises(InputError, match=r"for 4 devices .* but 1 processes run"):
        connect(Layout(tp=2, pp=2))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_shares_of_a_loss_add_up(data):
    """However a batch is dealt out, and with rows that only fill up."""
    torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
    pytest.importorskip("transformers", reason="needs veilform[train]")
    from veilform.distill.losses import label_loss, logit_loss
    from veilform.distill.ranks.target import Target
    from veilform.distill.trainer import Weights

    rows, outputs = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([1, 3]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    logits, wanted = torch.randn(2, rows, outputs)
    labels = torch.randn(rows) if outputs == 1 else torch.randint(3, (rows,))
    if outputs > 1:
        labels[torch.rand(rows) < 0.4] = -100
    target = Target(Weights(labels=0.7, logits=0.3), labels, wanted)
    order = torch.randperm(rows + 3)
    filled = torch.cat([logits, torch.full((3, outputs), 1e9)])
    size = data.draw(st.integers(1, 5))
    shares = [target.share(filled[part], part) for part in order.split(size)]
    whole = 0.7 * label_loss(logits, labels) + 0.3 * logit_loss(logits, wanted)
    assert sum(shares) == pytest.approx(float(whole), abs=1e-5)
