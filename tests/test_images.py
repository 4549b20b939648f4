"""Image models through commands and pipeline, over real TLS: private answers are the plain ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Run
from tests.serve.deployment import Deployment, serving
from tests.test_cli import complaint
from tests.vision.small import LABELS, MOBILE, RESNET, mobile, pixels

from veilform.errors import InputError, ModelError
from veilform.models import families
from veilform.pipeline import PlainImageClassifier, SecureImageClassifier, pipeline
from veilform.plan.cost import Report
from veilform.plan.random_network import random_tensors
from veilform.roles import CLIENT, SERVER, Role
from veilform.transport import Identity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mobile(tmp_path_factory.mktemp("images") / "model")


@pytest.fixture(scope="module")
def running(
    folder: Path,
    party_identities: dict[Role, Identity],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    place = tmp_path_factory.mktemp("deployment")
    with serving(families.server_side(folder), party_identities, place) as deployment:
        yield deployment


@pytest.fixture
def remote(running: Deployment, certificates: Path, tmp_path: Path) -> list[object]:
    return running.options(certificates, tmp_path / "stock")


def save(path: Path, array: np.ndarray) -> Path:
    pytest.importorskip("PIL.Image").fromarray(array.squeeze()).save(path)
    return path


# Classify


def test_private_answers_are_the_plain_ones(
    veilform: Run, remote: list[object], folder: Path, tmp_path: Path
) -> None:
    sizes = [(12, 12), (28, 20), (5, 5)]
    rng = np.random.default_rng(3)
    files = [
        save(tmp_path / f"{i}.png", rng.integers(0, 256, size, dtype=np.uint8))
        for i, size in enumerate(sizes)
    ]
    given = [part for file in files for part in ("--image", file)]
    code, out, err = veilform("classify", *remote, *given, "--json")
    assert (code, err) == (0, "")
    rows, plain = json.loads(out), PlainImageClassifier(folder)(files, top_k=3)
    report = Report(families.server_side(folder).trace(families.server_side(folder).run_shape(1)))
    for row, file, expected in zip(rows, files, plain, strict=True):
        assert set(row) == {"image", "label", "score", "labels", "cost"}
        assert row["image"] == str(file)
        assert row["label"] == expected[0]["label"]
        assert [one["label"] for one in row["labels"]] == [one["label"] for one in expected]
        for one, other in zip(row["labels"], expected, strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=5e-3)
        assert row["cost"]["bytes_client_to_server"] == report.up_bytes
        assert row["cost"]["bytes_server_to_client"] == report.down_bytes
        assert row["cost"]["messages"] == report.trace.messages
    code, out, _ = veilform("classify", *remote, "--image", files[0])
    assert code == 0
    assert rows[0]["label"] in out


def test_what_classify_refuses(
    veilform: Run, remote: list[object], tiny_public: Path, tmp_path: Path
) -> None:
    pytest.importorskip("PIL")
    told = complaint(veilform("classify", *remote, "--image", "a.png", "--text", "b"), 2)
    assert "texts or images, not both" in told
    missing = tmp_path / "none.png"
    assert f"no file {missing}" in complaint(veilform("classify", *remote, "--image", missing), 2)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bad = complaint(veilform("classify", *remote, "--image", tmp_path / "bad.png"), 2)
    assert "bad.png" in bad
    told = complaint(veilform("classify", *remote, "--text", "a film"), 3)
    assert "is for the task 'image-classification'" in told
    told = complaint(veilform("classify", tiny_public, *remote[1:], "--image", "a.png"), 3)
    assert "is for the task 'text-classification'" in told


# Models


def test_cost_is_exact_and_in_both_settings(veilform: Run, folder: Path) -> None:
    code, out, _ = veilform("cost", folder, "--batch", 2, "--dealer-free", "--json")
    assert code == 0
    found, side = json.loads(out), families.server_side(folder)
    trace = side.trace(side.run_shape(2))
    assert found["messages"] == trace.messages
    assert found["bytes_client_to_server"] == Report(trace).up_bytes
    manifest = side.manifest(side.run_shape(2), "0" * 32)
    dealt = manifest.dealt_bytes(CLIENT) + manifest.dealt_bytes(SERVER)
    assert found["offline_bytes"] == dealt + manifest.correction_bytes
    free = found["without_dealer"]
    assert set(free["convolutions"]) == {b.name for b, _, _ in MOBILE.network().convolutions()}
    assert free["best_bytes"] <= free["direct_bytes"]
    code, out, _ = veilform("cost", folder, "--dealer-free", "--by-operation")
    assert code == 0
    assert "times fewer in all" in out
    assert "activation" in out


def test_cost_of_a_named_network(veilform: Run) -> None:
    """The paper's figures for ResNet-32 without a dealer, from the command."""
    code, out, _ = veilform("cost", "resnet32", "--dealer-free", "--json")
    assert code == 0
    free = json.loads(out)["without_dealer"]
    assert free["times_fewer"] == pytest.approx(2.29, rel=0.02)
    assert free["direct_bytes"] / 2**30 == pytest.approx(8.46, abs=0.01)


def test_plan(veilform: Run, folder: Path) -> None:
    code, out, _ = veilform("plan", folder, "--link", "wan", "--json")
    assert code == 0
    found, side = json.loads(out), families.server_side(folder)
    assert found["cost"]["messages"] == side.trace(side.run_shape(1)).messages
    assert found["online_seconds"] > 0.04 * found["cost"]["messages"] / 2
    assert {"image", "linear", "activation", "head"} == set(found["operations"])
    assert found["layers"] == []
    code, out, _ = veilform("plan", folder)
    assert code == 0
    assert "images of 12 x 12 x 1" in " ".join(out.split())


def test_what_is_for_texts_alone(veilform: Run, folder: Path, tiny: Path) -> None:
    assert "no tokens" in complaint(veilform("cost", folder, "--seq", 16), 2)
    assert "no tokens" in complaint(veilform("plan", folder, "--seq", 16), 2)
    assert "of text models" in complaint(veilform("plan", folder, "--budget", "1s"), 2)
    assert "no embedding" in complaint(veilform("cost", folder, "--private-embedding"), 2)
    told = complaint(veilform("cost", tiny, "--seq", 16, "--dealer-free"), 2)
    assert "for image models" in told
    told = complaint(veilform("calibrate", tiny, "--images", tiny), 2)
    assert "takes texts" in told
    assert "a file of texts or" in complaint(veilform("calibrate", folder), 2)


def test_from_tensors_to_a_served_model(veilform: Run, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    weights, config, labels = (tmp_path / name for name in ("w.safetensors", "c.json", "labels"))
    save_file(random_tensors(RESNET.network()), weights)
    config.write_text(json.dumps({
        "family": "resnet", "height": 10, "width": 9, "classes": 4, "depths": [1, 1],
        "widths": [4, 6], "small": True,
    }))  # fmt: skip
    labels.write_text("a\nb\nc\nd\n")
    model = tmp_path / "model"
    code, out, err = veilform("import", weights, model, "--config", config, "--labels", labels)
    assert (code, err) == (0, "")
    code, out, _ = veilform("check", model, "--json")
    assert code == 3
    assert "veilform calibrate" in json.loads(out)["problems"][0]
    (tmp_path / "pictures").mkdir()
    for i, array in enumerate(pixels(RESNET, 3)):
        save(tmp_path / "pictures" / f"{i}.png", array)
    code, out, _ = veilform("calibrate", model, "--images", tmp_path / "pictures", "--json")
    assert code == 0
    assert json.loads(out)["images"] == 3
    code, out, _ = veilform("check", model)
    assert code == 0
    code, out, _ = veilform("export", model, tmp_path / "public", "--json")
    assert code == 0
    assert json.loads(out)["takes"] == "images of 10 x 9 x 3"
    assert families.client_side(tmp_path / "public").config.labels == ("a", "b", "c", "d")


def test_what_import_refuses(veilform: Run, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.touch()
    for config, why, code in (
        ("resnet18", "pickles are never opened", 3),
        ("vit", "neither a file nor one of resnet18", 2),
        (weights, "not a JSON object", 3),
    ):
        told = complaint(veilform("import", weights, tmp_path / "m", "--config", config), code)
        assert why in told
    told = complaint(
        veilform("import", weights, tmp_path / "m", "--config", "resnet18",
                 "--preprocessor", weights), 2,
    )  # fmt: skip
    assert "preprocessor_config.json" in told


# Pipeline and evaluation, with processes of their own


def test_the_pipeline(folder: Path) -> None:
    images = pixels(MOBILE, 2)
    with pipeline("image-classification", folder, mode="plain") as plain:
        expected = plain(images)
        assert plain.last_cost is None
    with pipeline("image-classification", folder) as secure:
        assert isinstance(secure, SecureImageClassifier)
        found = secure(images)
        assert [row["label"] for row in found[0]] == [row["label"] for row in expected[0]]
        assert {row["label"] for row in found[0]} == set(LABELS)
        (one,) = secure(images[1], top_k=1)
        assert one["label"] == expected[1][0]["label"]
        assert one["score"] == pytest.approx(expected[1][0]["score"], abs=5e-3)
        side = families.server_side(folder)
        report = Report(side.trace(side.run_shape(1)))
        assert secure.last_cost is not None
        assert secure.last_cost.bytes_client_to_server == report.up_bytes
        assert secure.last_cost.bytes_server_to_client == report.down_bytes
        for bad, why in (
            ([], "no image"),
            (np.zeros((12, 12, 2), np.uint8), "takes H x W x 1"),
            (np.full((12, 12, 1), 9.0), r"beyond \+-2"),
            ("none.png", "no file none.png|needs Pillow"),
        ):
            with pytest.raises(InputError, match=why):
                secure(bad)
        with pytest.raises(InputError, match="top_k"):
            secure(images, top_k=0)


def test_pipelines_of_another_task(folder: Path, tiny: Path) -> None:
    for mode in ("plain", "secure"):
        with pytest.raises(ModelError, match="'image-classification'"):
            pipeline("text-classification", folder, mode=mode)  # type: ignore[arg-type]
        with pytest.raises(ModelError, match="'text-classification'"):
            pipeline("image-classification", tiny, mode=mode)  # type: ignore[call-overload]


def test_evaluate(veilform: Run, folder: Path, tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / "data" / label).mkdir(parents=True)
        for i, array in enumerate(pixels(MOBILE, 2, len(label))):
            save(tmp_path / "data" / label / f"{i}.png", array)
    code, out, err = veilform("evaluate", folder, "--data", tmp_path / "data", "--private", 4,
                              "--batch", 2, "--json")  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["images"] == 6
    assert set(found["plain"]) == {"accuracy"}
    assert found["private"]["images"] == 4
    assert found["private"]["agreement"] == 1
    assert found["private"]["largest_logit_difference"] < 0.01
    code, out, _ = veilform("evaluate", folder, "--data", tmp_path / "data")
    assert code == 0
    assert "plain, 6 images" in out
