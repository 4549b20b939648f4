from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.checkpoints import TEXTS, make_tiny

from veilform.errors import InputError, ModelError
from veilform.models.bert import names
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.public import PublicPart, export_public
from veilform.models.checkpoint import model_digest
from veilform.models.tensors import TensorFile

PUBLIC = {
    "bert.embeddings.word_embeddings.weight",
    "bert.embeddings.position_embeddings.weight",
    "bert.embeddings.token_type_embeddings.weight",
    "bert.embeddings.LayerNorm.weight",
    "bert.embeddings.LayerNorm.bias",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny(tmp_path / "full", calibrated=True)


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> Path:
    export_public(folder, tmp_path / "client")
    return tmp_path / "client"


def test_nothing_private_is_exported(folder: Path, client: Path) -> None:
    assert {path.name for path in client.iterdir()} == {
        "config.json", "tokenizer.json", "embeddings.safetensors", "model.json",
    }  # fmt: skip
    exported = load_file(client / "embeddings.safetensors")
    assert set(exported) == {*PUBLIC, names.WORDS + "_scale"}
    # Not one row of a private tensor is anywhere in the exported bytes.
    content = b"".join(path.read_bytes() for path in client.iterdir())
    for name, value in load_file(folder / "model.safetensors").items():
        if name not in exported:
            assert value.tobytes()[:32] not in content, name


def test_both_folders_give_the_same_part(folder: Path, client: Path) -> None:
    full, exported = PublicPart.load(folder), PublicPart.load(client)
    assert exported.config == full.config
    assert exported.digest == full.digest == model_digest(folder)
    assert set(full.tables) == set(exported.tables) == PUBLIC
    batch = full.encoder.pad(full.encoder.encode(TEXTS))
    embedded = exported.embed(batch.ids, batch.types)
    assert embedded.dtype == np.float32
    np.testing.assert_array_equal(embedded, full.embed(batch.ids))


def test_embed_is_the_models_embedding_block(folder: Path) -> None:
    part, model = PublicPart.load(folder), PlainBert.load(folder)
    batch = part.encoder.pad(part.encoder.encode(TEXTS))
    seen: dict[str, np.ndarray] = {}
    model.forward(batch.ids, batch.mask, observe=seen.__setitem__)
    embedded = part.embed(batch.ids)
    # The first layer's query is a linear function of what the embedding block gives.
    name = names.layer(0, names.QUERY)
    query = embedded @ model.params[name + ".weight"].T + model.params[name + ".bias"]
    np.testing.assert_allclose(query, seen["layer.0.q"], atol=1e-5)


def test_only_public_tensors_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    chunks = TensorFile.chunks

    def spy(self: TensorFile, name: str) -> Any:
        read.append(name)
        return chunks(self, name)

    monkeypatch.setattr(TensorFile, "chunks", spy)
    PublicPart.load(folder)
    assert set(read) == {*PUBLIC, names.WORDS + "_scale"}


def test_embed_refuses_foreign_ids(client: Path) -> None:
    part = PublicPart.load(client)
    with pytest.raises(InputError, match="token id"):
        part.embed(np.array([[72]]))
    with pytest.raises(InputError, match="type id"):
        part.embed(np.array([[1]]), np.array([[2]]))


def test_an_occupied_folder_is_left_alone(folder: Path, client: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds files already"):
        export_public(folder, client)
    with pytest.raises(InputError, match="holds files already"):
        export_public(folder, folder)
    with pytest.raises(InputError, match="cannot write"):
        export_public(folder, folder / "config.json" / "x")
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        export_public(client, tmp_path / "again")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2, "digest": "00"}', b"\xff"])
def test_broken_model_file(client: Path, content: bytes) -> None:
    (client / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json is malformed"):
        _ = PublicPart.load(client).digest


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 24, "does not fit its config"),
        ("vocab_size", 71, "the tokenizer has 72 tokens|does not fit"),
        ("hidden_size", None, "cannot be used"),
    ],
)
def test_files_that_disagree(client: Path, key: str, value: object, message: str) -> None:
    config = json.loads((client / "config.json").read_text(encoding="utf-8"))
    (client / "config.json").write_text(json.dumps({**config, key: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        PublicPart.load(client)


def test_the_repr_shows_no_numbers(client: Path) -> None:
    assert "array" not in repr(PublicPart.load(client))


def test_a_private_embedding_stays_behind(folder: Path, tmp_path: Path) -> None:
    export_public(folder, tmp_path / "private", embeddings=False)
    assert not (tmp_path / "private" / "embeddings.safetensors").exists()
    part = PublicPart.load(tmp_path / "private")
    assert part.digest == model_digest(folder)
    with pytest.raises(ModelError, match="private look-up"):
        part.embed(np.zeros((1, 4), np.int64))
