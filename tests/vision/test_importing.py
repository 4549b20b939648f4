"""From a state dict or an exported program to a folder that is served."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.vision.small import LABELS, MOBILE, PADDED, RESNET, mobile, pixels, resnet

from veilform.errors import InputError, ModelError
from veilform.models import families
from veilform.models.vision.plain import PlainNetwork
from veilform.models.vision.sides import CLIPS, WINOGRAD, ServerSide
from veilform.plan.convolution import choose
from veilform.plan.random_network import random_tensors
from veilform.vision import calibration, exported, importing


def test_a_folder_keeps_what_was_given(tmp_path: Path) -> None:
    folder = mobile(tmp_path / "model")
    assert families.of(folder) is families.IMAGES
    assert families.examine(folder) == []
    side = families.server_side(folder)
    assert side.config.labels == LABELS
    assert side.takes == "images of 12 x 12 x 1"
    assert side.published.preprocessing == PADDED
    assert side.published.largest == pytest.approx((1 - 0.3) / 0.35)
    for name, tensor in random_tensors(MOBILE.network()).items():
        assert np.array_equal(PlainNetwork.load(folder).tensors[name], tensor)


def test_a_state_dict_of_torch_with_its_counters(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    given = {n: torch.from_numpy(t) for n, t in random_tensors(RESNET.network()).items()}
    given["bn1.num_batches_tracked"] = torch.tensor(7)
    importing.write(tmp_path / "model", RESNET, given)
    loaded = PlainNetwork.load(tmp_path / "model").tensors
    assert all(np.array_equal(loaded[name], given[name]) for name in loaded)
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(given, tmp_path / "state.safetensors")
    read = importing.read_tensors(tmp_path / "state.safetensors")
    assert set(read) == set(given) - {"bn1.num_batches_tracked"}


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        (lambda t: t.pop("fc.bias"), ModelError, "missing tensor fc.bias"),
        (lambda t: t.update({"fc.bias": np.zeros(9)}), ModelError, r"shape \(9,\), expected"),
        (lambda t: t["fc.bias"].__setitem__(0, np.nan), ModelError, "no finite numbers"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, change, error, why: str) -> None:
    tensors = random_tensors(RESNET.network())
    change(tensors)
    with pytest.raises(error, match=why):
        importing.write(tmp_path / "model", RESNET, tensors)
    assert not (tmp_path / "model").exists()


def test_labels_and_folders_that_do_not_fit(tmp_path: Path) -> None:
    tensors = random_tensors(RESNET.network())
    with pytest.raises(InputError, match="2 labels for 4 classes"):
        importing.write(tmp_path / "model", RESNET, tensors, labels=["a", "b"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="not empty"):
        importing.write(tmp_path / "full", RESNET, tensors)
    mobile(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["id2label"] = {"0": "a"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    assert "must name the classes 0 to 2" in families.examine(tmp_path / "model")[0]


def test_a_folder_that_was_not_finished_is_no_model_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least of all one whose pictures would be prepared in another way."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("write_tensors", "CONFIG"):
        folder = tmp_path / step
        monkeypatch.setattr(importing, step, killed)
        with pytest.raises((KeyboardInterrupt, TypeError)):
            mobile(folder)
        monkeypatch.undo()
        assert (folder / "preprocessor_config.json").is_file()
        assert "config.json" in families.examine(folder)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", ["classifier.1.weight", "classifier.1.bias"])
def test_a_head_without_bounds_is_not_served(tmp_path: Path, name: str, value: float) -> None:
    folder = mobile(tmp_path / "model")
    tensors = dict(load_file(folder / "model.safetensors"))
    tensors[name].reshape(-1)[0] = value
    save_file(tensors, folder / "model.safetensors")
    assert "not finite or is huge" in families.examine(folder)[0]


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("clips.json", {"stem": -1.0}, "clipped at -1"),
        ("clips.json", {"stem": 0.0}, "clipped at 0"),
        ("winograd.json", {"layer2.0.conv1": 2}, "cannot be computed by Winograd"),
        ("winograd.json", {"layer2.0.downsample.0": 4}, "cannot be computed by Winograd"),
        ("winograd.json", {"none": 4}, "cannot be computed by Winograd"),
    ],
)
def test_what_a_calibration_may_not_say(
    tmp_path: Path, file: str, content: dict[str, float], why: str
) -> None:
    folder = resnet(tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    assert why in families.examine(folder)[0]


# Programs of torch.export


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    torch = pytest.importorskip("torch")

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 3, 3)
            self.norm = torch.nn.BatchNorm2d(3)
            self.dense = torch.nn.Linear(4, 2).to(torch.bfloat16)

        def forward(self, x):
            return self.norm(self.conv(x))

    made = torch.export.export(Small().eval(), (torch.zeros(1, 2, 5, 5),))
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    torch.export.save(made, path)
    return path, {name: tensor.detach().float().numpy() for name, tensor in made.state_dict.items()}


def test_a_program_s_tensors_are_read_without_torch(program) -> None:
    path, wanted = program
    found = exported.read(path)
    assert set(wanted) <= set(found)
    for name, tensor in wanted.items():
        assert np.array_equal(found[name], tensor), name


def test_tensors_that_share_a_file_share_its_numbers(program, tmp_path: Path) -> None:
    """An archive cannot ask for more memory by naming one file again and again."""
    path, _ = program
    out = tmp_path / "again.pt2"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as copy:
        for item in source.namelist():
            content = source.read(item)
            if item.endswith("weights_config.json"):
                index = json.loads(content)
                index["config"]["again"] = index["config"]["conv.weight"]
                content = json.dumps(index).encode()
            copy.writestr(item, content)
    found = exported.read(out)
    assert np.shares_memory(found["again"], found["conv.weight"])


def test_what_a_program_may_not_be(program, tmp_path: Path) -> None:
    path, _ = program

    def changed(name: str, old: bytes, new: bytes, kind: int = zipfile.ZIP_STORED) -> Path:
        out = tmp_path / f"{name}.pt2"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", kind) as copy:
            for item in source.namelist():
                content = source.read(item)
                if item.endswith("weights_config.json"):
                    assert old in content
                    content = content.replace(old, new)
                copy.writestr(item, content)
        return out

    for name, old, new, why in (
        ("pickled", b'"use_pickle": false', b'"use_pickle": true', "never opened"),
        ("outside", b'"path_name": "weight_0"', b'"path_name": "../../x"', "no program"),
        ("larger", b'"as_int": 3', b'"as_int": 300', "row by row|numbers for the shape"),
        ("typed", b'"dtype": 7', b'"dtype": 12', "save it as float32"),
        ("negative", b'"as_int": 3', b'"as_int": -3', "no program"),
    ):
        with pytest.raises(ModelError, match=why):
            exported.read(changed(name, old, new))
    with pytest.raises(ModelError, match="compressed"):
        exported.read(changed("deflated", b"config", b"config", zipfile.ZIP_DEFLATED))
    for content in (b"", b"PK\x05\x06" + bytes(18), path.read_bytes()[:900]):
        (tmp_path / "bad.pt2").write_bytes(content)
        with pytest.raises(ModelError):
            exported.read(tmp_path / "bad.pt2")
    with pytest.raises(ModelError, match="cannot read"):
        exported.read(tmp_path / "none.pt2")
    with pytest.raises(ModelError, match="pickles are never opened"):
        importing.read_tensors(tmp_path / "model.pth")


# Calibration


def test_calibration_covers_every_batch(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    importing.write(folder, RESNET, random_tensors(RESNET.network()))
    assert any("run `veilform calibrate`" in line for line in families.examine(folder))
    with pytest.raises(ModelError, match="--images"):
        ServerSide(folder)
    images, seen = pixels(RESNET, calibration.PICTURES + 3), []
    clips = calibration.calibrate_on(folder, images, lambda *done: seen.append(done))
    assert seen[-1] == (len(images), len(images))
    assert json.loads((folder / CLIPS).read_text()) == clips
    assert json.loads((folder / WINOGRAD).read_text()) == choose(RESNET.network())
    wires = PlainNetwork.load(folder).wires(np.stack(images) / 255)[1:]
    for step, wire in zip(RESNET.network().steps, wires, strict=True):
        assert 2 * wire.max() <= clips[step.name] <= 4 * wire.max()
    assert families.examine(folder) == []


def test_calibration_needs_pictures_that_fit(tmp_path: Path) -> None:
    folder = resnet(tmp_path / "model")
    with pytest.raises(InputError, match="no picture"):
        calibration.calibrate_on(folder, [])
    with pytest.raises(InputError, match="takes H x W x 3"):
        calibration.calibrate_on(folder, [np.zeros((10, 9, 2), np.uint8)])


def test_winograd_of_the_folder_is_what_is_served(tmp_path: Path) -> None:
    folder = resnet(tmp_path / "model")
    (folder / WINOGRAD).write_text('{"layer1.0.conv1": 4}')
    tiles = [at.tiles for at in ServerSide(folder).scales.steps]
    assert (4,) in tiles
    (folder / WINOGRAD).write_text('{"layer1.0.conv1": 3}')
    assert "winograd.json" in families.examine(folder)[0]


def test_a_private_embedding_is_for_texts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no embedding"):
        families.server_side(mobile(tmp_path / "model"), True)


def test_a_client_s_folder_that_was_changed(tmp_path: Path) -> None:
    families.publish(families.server_side(mobile(tmp_path / "model")), tmp_path / "public")
    whole = json.loads((tmp_path / "public" / "scales.json").read_text())

    def changed(**what: object) -> dict:
        steps = [{**whole["scales"]["steps"][0], **what}, *whole["scales"]["steps"][1:]]
        return {**whole, "scales": {**whole["scales"], "steps": steps}}

    for content, why in (
        ([], "malformed"),
        ({**whole, "scales": {**whole["scales"], "steps": []}}, "of another model"),
        (changed(tiles=[3]), "does not fit its network"),
        (changed(tiles=[]), "does not fit its network"),
        (changed(ring=3), "does not fit its network"),
        ({**whole, "preprocessing": {"image_std": 0, "do_normalize": True}}, "std > 0"),
    ):
        (tmp_path / "public" / "scales.json").write_text(json.dumps(content))
        with pytest.raises(ModelError, match=why):
            families.client_side(tmp_path / "public")


def test_publishing_twice_and_over_something_else(tmp_path: Path) -> None:
    side = families.server_side(mobile(tmp_path / "model"))
    families.publish(side, tmp_path / "public")
    assert sorted(p.name for p in (tmp_path / "public").iterdir()) == ["config.json", "scales.json"]
    families.publish(side, tmp_path / "public")
    client = families.client_side(tmp_path / "public")
    assert client.published == side.published
    assert client.config == side.config
    with pytest.raises(InputError, match="not empty"):
        families.publish(families.server_side(resnet(tmp_path / "other")), tmp_path / "public")


def test_a_config_file_brings_its_labels(veilform, tmp_path: Path) -> None:
    first, again = mobile(tmp_path / "first"), tmp_path / "again"
    weights, config = first / "model.safetensors", first / "config.json"
    code, _, complaint = veilform("import", weights, again, "--config", config)
    assert code == 0, complaint
    assert families.described(again).labels == LABELS
    (tmp_path / "junk.png").write_bytes(b"\x89PNG")
    code, _, complaint = veilform(
        "import", weights, tmp_path / "x", "--config", tmp_path / "junk.png"
    )
    assert code == 3
    assert "junk.png" in complaint


def test_commands_for_texts_say_what_a_folder_takes(veilform, tmp_path: Path) -> None:
    folder, texts = mobile(tmp_path / "model"), tmp_path / "texts.txt"
    texts.write_text("a film\n")
    for call in (["quantize", folder, tmp_path / "out"], ["calibrate", folder, texts]):
        code, _, complaint = veilform(*call)
        assert (code, "takes images" in complaint) == (2, True), complaint
    whole = tmp_path / "dcvae"
    (whole / "decoder").mkdir(parents=True)
    for name in ("config.json", "decoder/config.json"):
        (whole / name).write_text("{}")
    for command in ("check", "cost"):
        code, said, complaint = veilform(command, whole)
        assert code
        assert "dcvae/decoder or" in " ".join((said + complaint).split()).replace("/ ", "/")
