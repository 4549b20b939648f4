"""What a client may hold of a model: its embeddings, tokenizer and config.

A client-only folder has config.json, tokenizer.json, embeddings.safetensors (unless words are
looked up privately) and model.json (the digest of the full model, so that both sides can tell that
they mean the same one). The scales come beside them, from ``sides.publish``; what calibration
measured stays with the server.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError, ModelError
from veilform.models import checkpoint
from veilform.models.bert import names
from veilform.models.bert.config import BertConfig
from veilform.models.bert.embedding import IdArray, embedding_sum, layer_norm
from veilform.models.bert.stored import StoredTensors
from veilform.models.text import TextEncoder

EMBEDDINGS, MODEL = "embeddings.safetensors", "model.json"
_MAX_MODEL_BYTES = 4096


class _ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class PublicPart:
    """The public part of the model in ``folder``.

    ``tables`` are the embeddings; empty where the words are looked up privately, because then they
    are the server's secret.
    """

    folder: Path
    config: BertConfig
    encoder: TextEncoder
    tables: Mapping[str, NDArray[np.float32]] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> PublicPart:
        """Read a client-only folder or a full checkpoint, of the latter the public tensors only.

        Raises:
            ModelError: a file is missing or broken, or public tensors are missing or misshapen.
        """
        config = BertConfig.read(folder)
        tables = {} if _without_embeddings(folder) else _load_tables(folder, config)
        encoder = TextEncoder.from_folder(folder)
        if encoder.vocab_size > config.vocab_size:
            raise ModelError(
                f"the tokenizer has {encoder.vocab_size} tokens, the model's table only "
                f"{config.vocab_size}"
            )
        return cls(folder, config, encoder, tables)

    @cached_property
    def digest(self) -> str:
        """The full model's digest: stored in a client-only folder, computed from a full one.

        Raises:
            ModelError: it cannot be read.
        """
        if not (self.folder / MODEL).is_file():
            return checkpoint.model_digest(self.folder)
        content = checkpoint.read_bytes(self.folder, MODEL, _MAX_MODEL_BYTES)
        try:
            return msgspec.json.decode(content, type=_ModelFile).digest
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{MODEL} is malformed: {error}. Export the folder again") from error

    def embed(self, ids_BS: IdArray, types_BS: IdArray | None = None) -> NDArray[np.float32]:
        """The embedding block's output (B, S, D) in float32, after LayerNorm.

        Raises:
            InputError: an id is outside the table, or there are more positions than the model has.
            ModelError: there are no tables here.
        """
        if not self.tables:
            raise ModelError(f"{self.folder} has no embeddings: it is for a private look-up")
        types_BS = np.zeros_like(ids_BS) if types_BS is None else types_BS
        x_BSD = embedding_sum(self.tables, ids_BS, types_BS)
        normal_BSD = layer_norm(x_BSD, self.tables, names.EMBEDDING_NORM, self._eps)
        return normal_BSD.astype(np.float32, copy=False)

    @property
    def _eps(self) -> float:
        return self.config.layer_norm_eps


def _without_embeddings(folder: Path) -> bool:
    return (folder / MODEL).is_file() and not (folder / EMBEDDINGS).is_file()


def _load_tables(folder: Path, config: BertConfig) -> Mapping[str, NDArray[np.float32]]:
    weights = EMBEDDINGS if (folder / EMBEDDINGS).is_file() else checkpoint.WEIGHTS
    return dict(StoredTensors.open(folder, config, names.embedding_shapes(config), weights))


def export_public(folder: Path, out_dir: Path, embeddings: bool = True) -> None:
    """Write the client-only folder of the checkpoint ``folder`` to ``out_dir``.

    ``out_dir`` must not exist or be empty: nothing private can be left in it by accident. Without
    ``embeddings`` the tables stay behind too: the client then looks words up privately.

    Raises:
        ModelError: ``folder`` is no complete checkpoint.
        InputError: ``out_dir`` holds files, or cannot be written.
    """
    config = PublicPart.load(folder).config
    source = StoredTensors.open(folder, config, names.embedding_shapes(config))
    model = _ModelFile(1, checkpoint.model_digest(folder))
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        if any(out_dir.iterdir()):
            raise InputError(f"{str(out_dir)!r} holds files already. Choose an empty folder")
        for name in (checkpoint.CONFIG, checkpoint.TOKENIZER):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, out_dir / name)
        if embeddings:
            source.export(out_dir / EMBEDDINGS)
        (out_dir / MODEL).write_bytes(msgspec.json.encode(model) + b"\n")
    except OSError as error:
        raise InputError(f"cannot write to {str(out_dir)!r}: {error.strerror}") from error
