"""Whole distillations of tiny models: stages, resuming, methods, folders, the command."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs veilform[train] (torch)")
pytest.importorskip("transformers", reason="needs veilform[train]")
pytest.importorskip("accelerate", reason="needs veilform[train] (accelerate)")

from veilform import cli  # noqa: E402
from veilform.distill import stages, tabular  # noqa: E402
from veilform.distill.dataset import BucketSampler, Collator  # noqa: E402
from veilform.distill.material import Material, predict  # noqa: E402
from veilform.distill.methods import METHODS, Recipe, paper_recipe  # noqa: E402
from veilform.distill.run import Job, distil  # noqa: E402
from veilform.distill.stages import Settings, Stage, last_checkpoint, run_stage  # noqa: E402, last_checkpoint
from veilform.distill.student import load_model, new_student  # noqa: E402
from veilform.distill.trainer import Weights  # noqa: E402
from veilform.errors import InputError, ModelError  # noqa: E402
from veilform.models.bert.plain import PlainBert  # noqa: E402
from veilform.models.text import TextEncoder  # noqa: E402

from .conftest import make_tokenizer, texts  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = Recipe(2, 5e-3, 1, 1e-3, 2, 5e-3)
SETTINGS = Settings(batch_size=8, bf16=False)


@pytest.fixture
def splits(files):
    return tabular.read_splits(files / "train.jsonl", files / "dev.jsonl")


@pytest.fixture
def material(splits, tiny):
    return Material.encode(splits, make_tokenizer(), 16, tiny.config())


def test_batches_have_like_lengths_and_all_texts():
    lengths = [i % 13 + 1 for i in range(200)]
    sampler = BucketSampler(lengths, batch=8, seed=1, pool=4)
    first = list(sampler)
    assert sorted(first) == list(range(200))
    spread = [max(part) - min(part) for part in _batches(lengths, first)]
    assert sum(spread) / len(spread) < 4
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def _batches(lengths, order):
    return [[lengths[i] for i in order[start : start + 8]] for start in range(0, len(order), 8)]


def test_collator_pads_and_types():
    rows = [
        {"input_ids": [5, 6], "token_type_ids": [0, 1], "labels": 1},
        {"input_ids": [7], "token_type_ids": [0], "labels": 0.5},
    ]
    batch = Collator(pad=9, regression=True)(rows)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 1], [0, 0]]
    assert batch["labels"].tolist() == [1.0, 0.5]
    assert "token_type_ids" not in Collator(types=False)(rows)


def test_all_losses_train_and_the_teacher_stays(tiny, material, tmp_path):
    teacher = tiny.teacher()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = new_student(teacher, "quad", "2quad")
    weights = Weights(1.0, 1.0, 0.1, 1.0, 0.5, 0.1)
    stage, settings = Stage("all", 3, 3e-3, weights), replace(SETTINGS, extra={"logging_steps": 8})
    result = run_stage(stage, settings, student, material, tmp_path / "all", teacher)
    assert result["losses"][-1]["hidden"] < result["losses"][0]["hidden"]
    assert {"embedding", "hidden", "attention", "logits", "labels", "ranges"} <= set(
        result["losses"][-1]
    )
    assert not teacher.training
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(hasattr(m, "watcher") for m in (*student.modules(), *teacher.modules()))


def test_a_loss_without_its_teacher_is_refused(tiny, material, tmp_path):
    stage = Stage("logits", 1, 1e-3, Weights(logits=1.0))
    with pytest.raises(ValueError, match="need a teacher"):
        run_stage(stage, SETTINGS, tiny.student(), material, tmp_path / "x")


class Interrupt(stages.TrainerCallback):
    """Stops a training after some epochs, as Ctrl-C would."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_save(self, args, state, control, **_):
        if state.epoch >= self.epochs:
            raise KeyboardInterrupt


def test_interrupted_stage_resumes_to_the_same_weights(tiny, material, tmp_path):
    stage = Stage("labels", 3, 5e-3, Weights(labels=1.0, ranges=0.1), by="accuracy")

    def train(folder, callbacks=()):
        model = tiny.student()
        run_stage(stage, SETTINGS, model, material, folder, None, callbacks)
        return model.state_dict()

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", (Interrupt(1),))
    resumed = train(tmp_path / "parts")
    finished = train(tmp_path / "parts")
    for name, value in whole.items():
        assert torch.allclose(resumed[name], value, atol=1e-6), name
        assert torch.equal(finished[name], resumed[name]), name


def test_a_checkpoint_that_was_cut_is_not_gone_on_from(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for number, state in ((9, "{}"), (10, '{"epoch": 1'), (11, None)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint-9"]


def test_early_stopping(tiny, material, tmp_path):
    stage = Stage("labels", 50, 0.0, Weights(labels=1.0), by="accuracy", patience=2)
    result = run_stage(stage, SETTINGS, tiny.student(), material, tmp_path / "x")
    assert len(result["curve"]) == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_job_writes_a_folder_that_serves(splits, teacher_folder, tmp_path, method):
    out = tmp_path / "out"
    job = Job(teacher_folder, out, method=method, max_tokens=16, pooling="mean",
              teacher_epochs=4, teacher_lr=1e-2, recipe=QUICK, settings=SETTINGS)  # fmt: skip
    figures = distil(job, splits)
    assert figures["calibration"] is None
    assert figures["student"]["start"] == {
        "full": "closed-form", "w/o d": "teacher", "w/o p,d": "random"
    }[method]  # fmt: skip
    kept = json.loads((out / "training.json").read_text())
    assert kept == json.loads(json.dumps(figures))
    card = (out / "README.md").read_text()
    assert "Cost of one private inference" in card
    assert method in card
    # The torch model, and the one that private inference is held against, say the same.
    model, plain = load_model(out), PlainBert.load(out)
    encoder = TextEncoder.from_folder(out)
    batch = encoder.pad(encoder.encode([text for text, _ in texts(5, seed=1)]))
    with torch.no_grad():
        ours = model(torch.tensor(batch.ids), torch.tensor(batch.mask)).logits.numpy()
    assert abs(plain.forward(batch.ids, batch.mask) - ours).max() < 1e-4
    frozen = model.bert.embeddings.word_embeddings.weight
    kept = torch.equal(frozen, load_model(out / "teacher").bert.embeddings.word_embeddings.weight)
    assert kept == (method == "full")


def test_distillation_follows_the_teacher(splits, teacher_folder, tmp_path):
    """On texts that one word decides, the teacher learns the word and the student the teacher."""
    job = Job(teacher_folder, tmp_path / "out", max_tokens=16, pooling="mean", teacher_epochs=12,
              teacher_lr=2e-2, settings=SETTINGS, recipe=QUICK.but(stage1_epochs=6))  # fmt: skip
    figures = distil(job, splits)
    teacher, student = (
        figures[name]["scores"]["dev"]["accuracy"] for name in ("teacher", "student")
    )
    assert teacher >= 0.9
    assert student >= teacher - 0.1


def test_a_classifier_is_taken_as_it_is(splits, tiny, tmp_path):
    folder = tmp_path / "classifier"
    tiny.teacher(id2label={0: "POS", 1: "NEG"}, label2id={"POS": 0, "NEG": 1}).save_pretrained(
        folder
    )
    make_tokenizer().save(str(folder / "tokenizer.json"))
    job = Job(folder, tmp_path / "out", max_tokens=16, recipe=QUICK, settings=SETTINGS)
    figures = distil(job, splits)
    assert figures["teacher"]["fine_tuning"] is None
    assert figures["task"]["labels"] == ("POS", "NEG")
    assert not (tmp_path / "out" / "teacher").exists()


@pytest.mark.parametrize("family", ["roberta", "distilbert"])
def test_other_families_and_regression(tiny, files, tmp_path, family):
    folder = tmp_path / "teacher"
    tiny.teacher(family=family).base_model.save_pretrained(folder)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    rows = [json.dumps({"text": t, "text_pair": t, "label": y + 0.5}) for t, y in texts(24, seed=5)]
    data = files / "numbers.jsonl"
    data.write_text("\n".join(rows))
    job = Job(folder, tmp_path / "out", max_tokens=16, recipe=QUICK, settings=SETTINGS)
    figures = distil(job, tabular.read_splits(data, data, regression=True))
    assert set(figures["student"]["scores"]["dev"]) == {"spearman", "pearson"}
    assert load_model(tmp_path / "out").config.problem_type == "regression"


def test_predictions_keep_the_order(tiny, material):
    model = tiny.teacher()
    whole, labels = predict(model, material.dev, material.collator)
    parts, _ = predict(model, material.dev, material.collator, batch=5)
    assert abs(whole - parts).max() < 1e-5
    assert labels.tolist() == [row["labels"] for row in material.dev.rows]


def test_the_papers_recipe():
    recipe = paper_recipe(50)
    first, second = recipe.stages("full", "matthews")
    assert (first.epochs, first.lr, second.epochs, second.lr) == (50, 5e-5, 5, 1e-5)
    assert first.weights.attention > 0
    assert first.weights.logits == 0 < second.weights.logits


def run(*arguments):
    return cli.app([str(a) for a in arguments], standalone_mode=False)


def test_the_command(files, teacher_folder, tmp_path, capsys):
    run("distill", "--teacher", teacher_folder, "--train", files / "train.jsonl", "--dev",
        files / "dev.jsonl", "--out", tmp_path / "out", "--act", "quad,gelu", "--epochs", 1,
        "--stage2-epochs", 0, "--teacher-epochs", 1, "--max-tokens", 16, "--no-bf16",
        "--json")  # fmt: skip
    figures = json.loads(capsys.readouterr().out)
    assert figures["student"]["act"] == "quad,gelu"
    assert [s["stage"]["name"] for s in figures["student"]["stages"]] == ["layers"]


def test_two_processes_share_a_training(files, teacher_folder, tmp_path):
    """Data parallel over gloo: one of the two writes and reports."""
    out = tmp_path / "out"
    arguments = ["distill", "--teacher", teacher_folder, "--train", files / "train.jsonl", "--dev",
                 files / "dev.jsonl", "--out", out, "--epochs", 1, "--stage2-epochs", 1,
                 "--teacher-epochs", 1, "--max-tokens", 16, "--no-bf16", "--threads", 1,
                 "--json"]  # fmt: skip
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, "-m", "veilform", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout[done.stdout.index("{") :])
    assert figures == json.loads((out / "training.json").read_text())
    # 64 texts, two processes of 32: one step an epoch.
    assert figures["student"]["stages"][0]["curve"][0]["step"] == 1


def test_what_the_command_refuses(files, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="give --train and --dev, or --task"):
        run("distill", "--teacher", tmp_path, "--out", out)
    with pytest.raises(InputError, match="not both"):
        run("distill", "--teacher", tmp_path, "--out", out, "--task", "rte", "--dev", "x.csv")
    with pytest.raises(InputError, match="no data set is called 'snli'"):
        run("distill", "--teacher", tmp_path, "--out", out, "--task", "snli")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        run("distill", "--teacher", tmp_path, "--out", out, "--train", files / "train.jsonl",
            "--dev", files / "dev.jsonl")  # fmt: skip
    assert not out.exists()
