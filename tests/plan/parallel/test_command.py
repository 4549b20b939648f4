"""``veilform parallel``: what it prints, and one line for whatever cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Run
from tests.plan.parallel.shared import amp_data, small_profile

from veilform.errors import InputError
from veilform.plan.parallel import Cluster, LayerProfile, Node, Strategy, predict

CLUSTER = """
nodes:
  - {device: fast, count: 2, inside_gbps: 100, between_gbps: 10, memory_gb: 16, copies: 2}
  - device: slow
    count: 2
    inside_gbps: 50
    between_gbps: 40
    memory_gb: 12
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A profile and a cluster."""
    pytest.importorskip("yaml")
    profile, cluster = tmp_path / "profile.json", tmp_path / "cluster.yaml"
    small_profile().save(profile)
    cluster.write_text(CLUSTER, encoding="utf-8")
    return profile, cluster


def test_plan(veilform: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    profile, cluster = files
    saved = tmp_path / "plan.json"
    code, out, err = veilform(
        "parallel", "plan", profile, cluster, "--batch", 12, "--top", 3, "--save", saved, "--json"
    )
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert len(document["plans"]) == 3
    layers, machines = LayerProfile.load(profile), Cluster.load(cluster)
    for each in document["plans"]:
        one = predict(Strategy.from_dict(each), layers, machines, 12)
        assert one.seconds == pytest.approx(each["predicted_s"])
    plan = json.loads(saved.read_text(encoding="utf-8"))
    assert sum(plan["cuts"]) == 4
    assert min(plan["cuts"]) >= 1
    assert sorted(plan["placement"]) == list(range(6))


def test_plan_as_a_table(veilform: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plan.svg"
    code, out, _ = veilform("parallel", "plan", *files, "--batch", 12, "--plot", plot)
    assert code == 0
    assert "Best: layers of each stage" in out
    assert plot.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: [", "no cluster file"),
        ("nodes: 3", "Expected `array`"),
        ("nodes: []", "at least one node"),
        (CLUSTER.replace("count: 2,", "counts: 2,"), "unknown field `counts`"),
        (CLUSTER.replace("inside_gbps: 50", "inside_gbps: 0"), "not positive"),
        (CLUSTER.replace("inside_gbps: 50", "inside_gbps: .nan"), "not positive"),
        (CLUSTER.replace("device: fast", "device: H100"), "no timings on H100; it has fast, slow"),
        (CLUSTER.replace("memory_gb: 16", "memory_gb: 1"), "no plan fits in memory"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_cluster(
    veilform: Run, files: tuple[Path, Path], text: str, message: str
) -> None:
    files[1].write_text(text, encoding="utf-8")
    code, out, err = veilform("parallel", "plan", *files, "--batch", 12)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_what_is_wrong_with_a_profile(veilform: Run, files: tuple[Path, Path]) -> None:
    profile, cluster = files
    content = json.loads(profile.read_text(encoding="utf-8"))
    for change, message in (
        ({"version": 2}, "is of version 2"),
        ({"layers": []}, "no layers"),
        ({"layers": content["layers"][1:]}, "has 5 layers, but timings of 6"),
        ({"layers": 3}, "no profile of layers"),
    ):
        profile.write_text(json.dumps(content | change), encoding="utf-8")
        code, _, err = veilform("parallel", "plan", profile, cluster, "--batch", 12)
        assert code == 2
        assert message in err
    code, _, err = veilform("parallel", "plan", profile.with_name("none"), cluster, "--batch", 12)
    assert code == 2
    assert "cannot read" in err


def test_without_yaml(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object, **__: object) -> None:
        raise ImportError("yaml")

    monkeypatch.setattr("msgspec.yaml.decode", decode)
    with pytest.raises(InputError, match=r"pip install 'veilform\[plan\]'"):
        Cluster.load(files[1])


def test_what_no_strategy_is() -> None:
    profile = small_profile()
    cluster = Cluster([Node("fast", 2, 100, 10)])
    for arguments, message in (
        ((1, 2, 1, 1, (0, 5)), "the cuts end at layer 5"),
        ((1, 2, 1, 3, (0, 6)), "a batch of 8 does not divide into 2 pipelines"),
        ((1, 4, 1, 1, (0, 6)), "needs 4 devices, numbered below 2"),
        ((1, 2, 1, 0, (0, 6)), "micro_batch is 0"),
        ((1, 1, 2, 1, (0, 6)), "not 3 ascending layer numbers"),
        ((1, 2, 1, 1, (0, 6), (0, 0)), "2 different devices"),
    ):
        with pytest.raises(InputError, match=message):
            predict(Strategy(*arguments), profile, cluster, 8)
    with pytest.raises(InputError, match="default, published"):
        predict(Strategy(1, 2, 1, 1, (0, 6)), profile, cluster, 8, "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no strategy"):
        Strategy.from_dict({"tp": 1})


def test_replay(veilform: Run) -> None:
    data = amp_data()
    trials = data / "homogeneous.json"
    arguments = ("parallel", "replay", trials, "--profiles", data, "--setting")
    code, out, _ = veilform(*arguments, "amp-homogeneous", "--json")
    assert code == 0
    figures = json.loads(out)
    assert set(figures) == {
        "n", "max_abs_error", "spearman", "top1_measured_s", "best_of_10_measured_s",
    }  # fmt: skip
    assert figures["n"] == 53
    code, out, _ = veilform(*arguments, "amp-homogeneous", "--mode", "default")
    assert code == 0
    assert "rank correlation" in out
    code, _, err = veilform(*arguments, "amp")
    assert code == 2
    assert "amp-het-cluster" in err


def test_replay_of_what_is_no_file(veilform: Run, tmp_path: Path) -> None:
    trials = tmp_path / "trials.json"
    arguments = ("parallel", "replay", trials, "--profiles", tmp_path, "--setting")
    for text, message in (("{}", "lists no trials"), ("[", "no file of trials")):
        trials.write_text(text, encoding="utf-8")
        code, _, err = veilform(*arguments, "amp-homogeneous")
        assert code == 2
        assert message in err or "cannot read" in err


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_embd": 8, "n_layer": 2, "n_head": 2, "model_type": "gpt2"},
        {
            "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 12, "architectures": ["BertForSequenceClassification"],
        },
    ],
)  # fmt: skip
def test_profile(veilform: Run, tmp_path: Path, sizes: dict[str, object]) -> None:
    pytest.importorskip("torch")
    (tmp_path / "config.json").write_text(json.dumps(sizes | {"vocab_size": 12}), encoding="utf-8")
    out = tmp_path / "profile.json"
    arguments = ("parallel", "profile", tmp_path, "--out", out, "--seq", 4, "--repeats", 1)
    code, _, err = veilform(*arguments, "--tp", "1,2", "--json")
    assert code == 0, err
    timed = LayerProfile.load(out)
    assert timed.degrees == (1, 2)
    assert sorted(timed.seconds(timed.devices[0], 2)) == [1, 2, 4]
    assert timed.emulated(timed.devices[0], 2)
    assert not timed.emulated(timed.devices[0], 1)
    assert timed.layers[-1].output_split == ("n_embd" in sizes)
    code, _, err = veilform(*arguments, "--tp", "3")
    assert code == 2
    assert "tensor parallel 3" in err


def test_profile_of_what_is_no_model(veilform: Run, tmp_path: Path) -> None:
    for text, message in ((None, "cannot read"), ("{}", "sizes are missing"), ("[", "no model's")):
        if text is not None:
            (tmp_path / "config.json").write_text(text, encoding="utf-8")
        code, _, err = veilform("parallel", "profile", tmp_path, "--out", tmp_path / "out")
        assert code == 2
        assert message in err


def test_no_strategy_uses_all_devices(veilform: Run, files: tuple[Path, Path]) -> None:
    """Neither stages nor copies: 12 devices, 6 layers, and a batch that 2 does not divide."""
    files[1].write_text(CLUSTER.replace("copies: 2", "copies: 5"), encoding="utf-8")
    code, _, err = veilform("parallel", "plan", *files, "--batch", 7, "--mode", "default")
    assert code == 0, err  # by tensor parallel 2 in 6 stages
    files[1].write_text(CLUSTER.replace("copies: 2", "copies: 6"), encoding="utf-8")
    code, _, err = veilform("parallel", "plan", *files, "--batch", 5)
    assert code == 2
    assert "no strategy uses all 14 devices for a batch of 5" in err


def test_the_published_model_needs_micro_batch_1(veilform: Run, files: tuple[Path, Path]) -> None:
    small_profile(micro_batches=(2, 4)).save(files[0])
    arguments = ("parallel", "plan", *files, "--batch", 12, "--json")
    assert veilform(*arguments)[0] == 0
    code, _, err = veilform(*arguments, "--mode", "published")
    assert code == 2
    assert "needs timings at micro-batch 1" in err
    code, _, err = veilform(*arguments, "--mode", "other")
    assert code == 2
    assert "the mode is one of default, published" in err
