from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tests.checkpoints import make_tiny, tiny_config, tiny_tensors, to_int8, write_checkpoint

from veilform.errors import ModelError
from veilform.models import checkpoint as module
from veilform.models.checkpoint import Checkpoint, model_digest, resolve, shipped

WORDS = "bert.embeddings.word_embeddings.weight"


def save(folder: Path, tensors: dict[str, Any]) -> Path:
    return write_checkpoint(folder, tiny_config(), tensors)


def test_tensors_are_those_that_safetensors_reads(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path, int8_embeddings=False)
    expected = load_file(folder / "model.safetensors")
    loaded = Checkpoint.open(folder).load()
    assert set(loaded) == set(expected)
    for name, value in loaded.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name])


def test_float16(tmp_path: Path) -> None:
    half = np.array([[1.5, -2.25], [65504, 6e-8]], np.float16)
    np.testing.assert_array_equal(
        Checkpoint.open(save(tmp_path, {"w": half})).load()["w"], half.astype(np.float32)
    )


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path, values: list[float]) -> None:
    bits = (np.array(values, np.float32).view(np.uint32) >> 16).astype("<u2")
    header = {"w": {"dtype": "BF16", "shape": [len(bits)], "data_offsets": [0, 2 * len(bits)]}}
    save(tmp_path, {"w": np.zeros(1, np.float32)})
    write_raw(tmp_path, header, bits.tobytes())
    loaded = Checkpoint.open(tmp_path).load()["w"]
    np.testing.assert_array_equal(loaded.view(np.uint32), bits.astype(np.uint32) << 16)


@pytest.mark.parametrize("scale_dtype", [np.float16, np.float32])
def test_int8_times_its_scale(tmp_path: Path, scale_dtype: type) -> None:
    stored = np.array([[-127, 0, 127], [1, 2, 3]], np.int8)
    scale = np.array([[0.5], [0.25]], scale_dtype)
    opened = Checkpoint.open(save(tmp_path, {"w": stored, "w_scale": scale}))
    assert opened.shapes == {"w": (2, 3)}
    expected = [[-63.5, 0, 63.5], [0.25, 0.5, 0.75]]
    assert opened.load()["w"].tolist() == expected
    assert list(opened.load()) == ["w"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w": np.ones((2, 3), np.int8)}, "w is int8 but has no w_scale"),
        (
            {"w": np.ones((2, 3), np.int8), "w_scale": np.ones((3, 1), np.float32)},
            r"w_scale has shape \(3, 1\), expected \(2, 1\)",
        ),
        (
            {"w": np.ones((2, 3), np.int8), "w_scale": np.ones((2, 1), np.int8)},
            "its scale F16 or F32",
        ),
        ({"w": np.ones(2, np.int8), "w_scale": np.ones((2, 1), np.float32)}, "must be a matrix"),
    ],
)
def test_bad_scales(tmp_path: Path, tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Checkpoint.open(save(tmp_path, tensors))


def test_a_float_tensor_named_scale_is_a_tensor(tmp_path: Path) -> None:
    ones = np.ones(2, np.float32)
    assert set(Checkpoint.open(save(tmp_path, {"w": ones, "w_scale": ones})).load()) == {
        "w",
        "w_scale",
    }


def test_only_chosen_tensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Checkpoint.open(make_tiny(tmp_path))
    read: list[str] = []
    chunks = type(opened.file).chunks

    def spy(self: Any, name: str) -> Any:
        read.append(name)
        return chunks(self, name)

    monkeypatch.setattr(type(opened.file), "chunks", spy)
    opened.load([WORDS])
    assert read == [WORDS, WORDS + "_scale"]


def test_missing_and_misshapen_tensors_are_all_listed(tmp_path: Path) -> None:
    opened = Checkpoint.open(save(tmp_path, {"a": np.ones((2, 2), np.float32)}))
    with pytest.raises(ModelError) as caught:
        opened.load(["a", "b", "c"])
    assert "missing tensor b" in str(caught.value)
    assert "missing tensor c" in str(caught.value)
    with pytest.raises(ModelError) as caught:
        opened.require({"a": (2, 3), "b": (1,)})
    assert "tensor a has shape (2, 2), expected (2, 3)" in str(caught.value)
    assert "missing tensor b of shape (1,)" in str(caught.value)


def test_unsupported_dtype(tmp_path: Path) -> None:
    opened = Checkpoint.open(save(tmp_path, {"w": np.ones(2, np.float64)}))
    with pytest.raises(ModelError, match="dtype F64; supported: BF16, F16, F32, I8"):
        opened.load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "has no config.json"),
        ("config.json", b"{", "not a JSON object"),
        ("config.json", b"[1]", "not a JSON object"),
        ("config.json", b"\xff\xfe", "not a JSON object"),
        ("config.json", b"[" * 100_000, "not a JSON object"),
        ("config.json", b" " * (1 << 20) + b"{}", "over the limit"),
        ("model.safetensors", None, "has no model.safetensors"),
        ("model.safetensors", b"", "not sound safetensors"),
        ("model.safetensors", b"\xff" * 64, "not sound safetensors"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    folder = make_tiny(tmp_path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ("model.safetensors.index.json", "split into several files"),
        ("pytorch_model.bin", "Save it as safetensors"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, present: str, message: str) -> None:
    folder = make_tiny(tmp_path)
    (folder / "model.safetensors").rename(folder / present)
    with pytest.raises(ModelError, match=message):
        Checkpoint.open(folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no folder"):
        Checkpoint.open(tmp_path / "absent")


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": {**F32, "shape": [3]}}, bytes(8)),
        ({"a": {**F32, "shape": [-2]}}, bytes(8)),
        ({"a": {**F32, "shape": [1 << 60]}}, bytes(8)),
        ({"a": {**F32, "shape": [1] * 9}}, bytes(8)),
        ({"a": {**F32, "dtype": "F9"}}, bytes(8)),
        ({"a": {**F32, "extra": 1}}, bytes(8)),
        ({"a": {**F32, "data_offsets": [8, 16]}}, bytes(16)),
        ({"a": {**F32, "data_offsets": [0, 1 << 40]}}, bytes(8)),
        ({"a": F32, "b": F32}, bytes(8)),
        ({"a": F32, "b": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
        ({"a": F32}, bytes(12)),
        ({"a": F32}, bytes(4)),
        ({"a": 5}, bytes(8)),
    ],
)
def test_lying_headers(tmp_path: Path, header: dict[str, Any], data: bytes) -> None:
    folder = make_tiny(tmp_path)
    write_raw(folder, header, data)
    with pytest.raises(ModelError, match="not sound safetensors"):
        Checkpoint.open(folder)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    folder = save(tmp_path, {"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.float16)})
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(ModelError):
        Checkpoint.open(folder).load()


def test_a_file_that_shrinks_while_open(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path)
    opened = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match="became shorter"):
        opened.load()


def test_export_copies_tensors_as_stored(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "full")
    source = load_file(folder / "model.safetensors")
    Checkpoint.open(folder).export([WORDS, "classifier.bias"], tmp_path / "some.safetensors")
    copied = load_file(tmp_path / "some.safetensors")
    assert set(copied) == {WORDS, WORDS + "_scale", "classifier.bias"}
    for name, value in copied.items():
        assert value.dtype == source[name].dtype
        np.testing.assert_array_equal(value, source[name])
    with pytest.raises(ModelError, match="missing tensor nothing"):
        Checkpoint.open(folder).export(["nothing"], tmp_path / "none.safetensors")


def test_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_tiny(tmp_path / "mine")
    assert resolve(str(folder)) == folder
    assert resolve(folder) == folder
    monkeypatch.setattr(module, "_students", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    assert shipped() == ["mine"]
    assert resolve("mine") == folder
    assert resolve("./mine") == Path("mine")
    for absent in ("yours", "", "mine/config.json"):
        with pytest.raises(ModelError, match=r"nor a shipped student \(shipped: mine\)"):
            resolve(absent)


def test_digest_is_over_config_and_tensors_and_nothing_else(tmp_path: Path) -> None:
    config, tensors = tiny_config(), dict(tiny_tensors(tiny_config()))
    base = model_digest(write_checkpoint(tmp_path / "base", config, tensors))
    assert len(base) == 64
    assert int(base, 16) >= 0

    same = write_checkpoint(tmp_path / "same", dict(reversed(config.items())), tensors)
    (same / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, same / "model.safetensors", metadata={"format": "pt"})
    (same / "tokenizer.json").unlink()
    (same / "calibration.json").write_text("{}", encoding="utf-8")
    assert model_digest(same) == base

    name = "classifier.bias"
    moved = dict(tensors)
    moved["classifier.other"] = moved.pop(name)
    for i, (other_config, other_tensors) in enumerate(
        [
            ({**config, "layer_norm_eps": 1e-5}, tensors),
            (config, {**tensors, name: np.nextafter(tensors[name], np.float32(9))}),
            (config, {**tensors, name: tensors[name].reshape(1, -1)}),
            (config, {**tensors, name: tensors[name].astype(np.float16)}),
            (config, moved),
            (config, to_int8(dict(tensors), WORDS)),
        ]
    ):
        other = write_checkpoint(tmp_path / str(i), other_config, other_tensors)
        assert model_digest(other) != base


def write_raw(folder: Path, header: dict[str, Any], data: bytes) -> None:
    encoded = json.dumps(header).encode()
    content = len(encoded).to_bytes(8, "little") + encoded + data
    (folder / "model.safetensors").write_bytes(content)
