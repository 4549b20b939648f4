"""A Hugging Face checkpoint folder, read without PyTorch.

``Checkpoint.open`` reads config.json and the index of model.safetensors; tensors are loaded when
asked for, so a client can load the public ones only. Tensors come out as float32. An int8 tensor
``N`` of shape (rows, columns) is stored with ``N_scale`` of shape (rows, 1), and is their product.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.errors import ModelError
from veilform.models.tensors import TensorFile, copy_tensors

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
MAX_CONFIG_BYTES = 1 << 20
MAX_TOKENIZER_BYTES = 64 << 20
_SCALE = "_scale"

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Checkpoint:
    """A folder's parsed config and the index of its tensors."""

    folder: Path
    config: Mapping[str, object]
    file: TensorFile

    @classmethod
    def open(cls, folder: Path, weights: str = WEIGHTS) -> Checkpoint:
        """Read the config and the tensors' index; no tensor yet.

        Raises:
            ModelError: the folder or a file is missing, too large, or broken.
        """
        config = read_config(folder)
        path = folder / weights
        if not path.is_file():
            raise ModelError(f"{_show(folder)} has no {weights}{_other_format(folder)}")
        checkpoint = cls(folder, config, TensorFile(path))
        checkpoint._check_scales()
        return checkpoint

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor that ``load`` knows; companions ``*_scale`` are left out."""
        stored = self.file.tensors
        return {n: t.shape for n, t in sorted(stored.items()) if not self._is_scale(n)}

    def load(self, names: Iterable[str] | None = None) -> dict[str, Float32]:
        """The tensors ``names`` (default: all) in float32.

        Raises:
            ModelError: some are missing (all of them are listed), or have an unsupported dtype.
        """
        shapes = self.shapes
        wanted = list(shapes if names is None else names)
        missing = [f"missing tensor {name}" for name in wanted if name not in shapes]
        if missing:
            raise ModelError(f"{_show(self.folder)} is incomplete:\n" + "\n".join(missing))
        return {name: self._load_one(name) for name in wanted}

    def require(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ModelError listing every tensor of ``expected`` that is absent or misshapen."""
        wrong = shape_problems(self.shapes, expected)
        if wrong:
            raise ModelError(f"{_show(self.folder)} does not fit its config:\n" + "\n".join(wrong))

    def export(self, names: Iterable[str], path: Path) -> None:
        """Copy the tensors ``names`` as they are stored (scales too) to a new safetensors file."""
        stored = self.file.tensors
        wanted = list(names)
        missing = [f"missing tensor {name}" for name in wanted if name not in stored]
        if missing:
            raise ModelError(f"{_show(self.folder)} is incomplete:\n" + "\n".join(missing))
        wanted += [name + _SCALE for name in wanted if self._is_scale(name + _SCALE)]
        copy_tensors(self.file, wanted, path)

    def rewrite(self, others: Mapping[str, Float32], path: Path) -> None:
        """Copy all tensors to a new safetensors file, but ``others`` in place of their names."""
        dropped = {name + _SCALE for name in others if self._is_scale(name + _SCALE)}
        copy_tensors(self.file, set(self.file.tensors) - dropped, path, others)

    def _load_one(self, name: str) -> Float32:
        tensor = self.file.read(name)
        if tensor.dtype == np.int8:
            tensor = tensor.astype(np.float32) * self.file.read(name + _SCALE)
        return tensor

    def _is_scale(self, name: str) -> bool:
        tensors = self.file.tensors
        base = tensors.get(name.removesuffix(_SCALE)) if name.endswith(_SCALE) else None
        return name in tensors and base is not None and base.dtype == "I8"

    def _check_scales(self) -> None:
        wrong = []
        for name, tensor in self.file.tensors.items():
            if tensor.dtype != "I8":
                continue
            scale = self.file.tensors.get(name + _SCALE)
            if scale is None:
                wrong.append(f"{name} is int8 but has no {name}{_SCALE}")
            elif scale.dtype not in ("F16", "F32") or len(tensor.shape) != 2:
                wrong.append(f"{name} is int8: it must be a matrix, its scale F16 or F32")
            elif scale.shape != (tensor.shape[0], 1):
                wrong.append(
                    f"{name}{_SCALE} has shape {scale.shape}, expected {(tensor.shape[0], 1)}"
                )
        if wrong:
            raise ModelError(f"{_show(self.folder)} is inconsistent:\n" + "\n".join(wrong))


def shape_problems(
    shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """One line for every tensor of ``expected`` that is absent from ``shapes`` or misshapen."""
    lines = []
    for name, shape in expected.items():
        if name not in shapes:
            lines.append(f"missing tensor {name} of shape {shape}")
        elif shapes[name] != shape:
            lines.append(f"tensor {name} has shape {shapes[name]}, expected {shape}")
    return lines


def read_config(folder: Path) -> dict[str, object]:
    """The parsed config.json of ``folder``; ModelError if it is missing, too large or no JSON."""
    return read_json(folder, CONFIG, MAX_CONFIG_BYTES)


def read_json(folder: Path, name: str, max_bytes: int) -> dict[str, object]:
    """A JSON object from a file of ``folder``; ModelError says what is wrong with it."""
    try:
        return msgspec.json.decode(read_bytes(folder, name, max_bytes), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} in {_show(folder)} is not a JSON object: {error}") from error


def read_bytes(folder: Path, name: str, max_bytes: int) -> bytes:
    """A file of ``folder``; ModelError if it is missing, unreadable or over ``max_bytes``."""
    if not is_folder(folder):
        raise ModelError(f"there is no folder {_show(folder)}")
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{_show(folder)} has no {name}")
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ModelError(f"cannot read {name} in {_show(folder)}: {error.strerror}") from error
    if len(content) > max_bytes:
        raise ModelError(f"{name} in {_show(folder)} is over the limit of {max_bytes} bytes")
    return content


def is_folder(path: Path) -> bool:
    """Whether there is a folder, and the path one that a system can look at: not too long, say."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def shipped() -> list[str]:
    """The names of the students that come with this installation."""
    students = _students()
    if not students.is_dir():
        return []
    return sorted(path.parent.name for path in students.glob(f"*/{CONFIG}"))


def resolve(name_or_path: str | Path) -> Path:
    """A checkpoint folder from a path, or from the name of a shipped student.

    A shipped name wins over a folder of the same name; write ``./name`` for the folder.

    Raises:
        ModelError: neither; the message lists the shipped names.
    """
    names = shipped()
    if isinstance(name_or_path, str) and name_or_path in names:
        return _students() / name_or_path
    if str(name_or_path) and is_folder(Path(name_or_path)):
        return Path(name_or_path)
    known = ", ".join(names) or "none in this installation"
    raise ModelError(
        f"{str(name_or_path)!r} is neither a folder nor a shipped student (shipped: {known})"
    )


def model_digest(folder: Path) -> str:
    """SHA-256 (hex) of what the model computes with: its config and its stored tensors.

    Over the config as canonical JSON, then each tensor by name: name, dtype, shape, bytes. Every
    part is preceded by its length. Layout, metadata, tokenizer and calibration do not count.

    Raises:
        ModelError: the folder is no sound checkpoint.
    """
    checkpoint = Checkpoint.open(folder)
    digest = hashlib.sha256(b"veilform model 1")

    def add(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little") + part)

    add(json.dumps(checkpoint.config, sort_keys=True, separators=(",", ":")).encode())
    for name, tensor in sorted(checkpoint.file.tensors.items()):
        add(name.encode())
        add(json.dumps([tensor.dtype, *tensor.shape]).encode())
        digest.update(tensor.size.to_bytes(8, "little"))
        for chunk in checkpoint.file.chunks(name):
            digest.update(chunk)
    return digest.hexdigest()


def _students() -> Path:
    return Path(__file__).resolve().parents[1] / "students"


def _other_format(folder: Path) -> str:
    if (folder / f"{WEIGHTS}.index.json").is_file():
        return "; it is split into several files. Save it with a larger max_shard_size"
    if (folder / "pytorch_model.bin").is_file():
        return "; pytorch_model.bin is a pickle, never opened here. Save it as safetensors"
    return ""


def _show(folder: Path) -> str:
    return repr(str(folder))
