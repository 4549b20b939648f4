"""Distillation whose linear layers multiply small integers."""

import json

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("transformers", reason="needs veilform[train]")
pytest.importorskip("accelerate", reason="needs veilform[train] (accelerate)")

from safetensors.torch import load_file  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

from veilform import cli  # noqa: E402
from veilform.distill import tabular  # noqa: E402
from veilform.distill.material import Material  # noqa: E402
from veilform.distill.methods import Recipe  # noqa: E402
from veilform.distill.ranks.layout import Layout  # noqa: E402
from veilform.distill.run import Job, distil  # noqa: E402
from veilform.distill.stages import Settings, Stage, run_stage  # noqa: E402
from veilform.distill.trainer import DistilTrainer, Weights  # noqa: E402
from veilform.errors import InputError  # noqa: E402
from veilform.models.bert.plain import PlainBert  # noqa: E402
from veilform.models.text import TextEncoder  # noqa: E402
from veilform.quant import Policy  # noqa: E402
from veilform.quant.convert import convert  # noqa: E402

from .conftest import make_tokenizer, texts  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = Settings(batch_size=8, bf16=False)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_job_writes_plain_float_weights_that_serve(files, teacher_folder, tmp_path, precision):
    splits = tabular.read_splits(files / "train.jsonl", files / "dev.jsonl")
    out = tmp_path / "out"
    job = Job(teacher_folder, out, max_tokens=16, pooling="mean", teacher_epochs=1,
              teacher_lr=1e-2, recipe=Recipe(1, 5e-3, 1, 1e-3), settings=SETTINGS,
              precision=precision)  # fmt: skip
    figures = distil(job, splits)
    assert figures["precision"] == precision
    assert figures["calibration"] is None
    trained = load_file(out / "stages" / "logits" / "best.safetensors")
    groups = {int(v) for name, v in trained.items() if name.endswith(".group")}
    assert groups == {1} if precision == "int8" else min(groups) >= 2
    for folder in (out, out / "teacher"):
        written = load_file(folder / "model.safetensors")
        assert not any("step_" in name or name.endswith("group") for name in written)
    encoder, plain = TextEncoder.from_folder(out), PlainBert.load(out)
    batch = encoder.pad(encoder.encode([text for text, _ in texts(5, seed=1)]))
    assert plain.forward(batch.ids, batch.mask).shape == (5, 2)


def test_an_interrupted_stage_goes_on_with_its_steps(files, tiny, tmp_path):
    splits = tabular.read_splits(files / "train.jsonl", files / "dev.jsonl")
    material = Material.encode(splits, make_tokenizer(), 16, tiny.config())
    stage = Stage("labels", 2, 5e-3, Weights(labels=1.0), by="accuracy")

    class Interrupt(TrainerCallback):
        def on_save(self, args, state, control, **_):
            raise KeyboardInterrupt

    def train(folder, callbacks=()):
        model = convert(tiny.student(), Policy())
        run_stage(stage, SETTINGS, model, material, folder, None, callbacks)
        return model.state_dict()

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", (Interrupt(),))
    resumed, finished = train(tmp_path / "parts"), train(tmp_path / "parts")
    assert any(name.endswith("step_x") for name in whole)
    for name, value in whole.items():
        assert torch.allclose(resumed[name], value, atol=1e-5), name
        assert torch.equal(finished[name], resumed[name]), name


def test_steps_take_no_weight_decay(tiny):
    model = convert(tiny.student(), Policy())
    names = DistilTrainer.get_decay_parameter_names(DistilTrainer.__new__(DistilTrainer), model)
    assert any(name.endswith("query.weight") for name in names)
    assert not any("step_" in name for name in names)


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="no precision 'int2'"):
        Job(tmp_path, tmp_path, precision="int2")
    with pytest.raises(InputError, match="leave out --plan"):
        Job(tmp_path, tmp_path, precision="int4", settings=Settings(layout=Layout(dp=2)))


def test_the_command(files, teacher_folder, tmp_path, capsys):
    arguments = ["distill", "--teacher", teacher_folder, "--train", files / "train.jsonl", "--dev",
                 files / "dev.jsonl", "--out", tmp_path / "out", "--epochs", 1, "--stage2-epochs",
                 0, "--teacher-epochs", 1, "--max-tokens", 16, "--precision", "int4",
                 "--json"]  # fmt: skip
    cli.app([str(a) for a in arguments], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["precision"] == "int4"
