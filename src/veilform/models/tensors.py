"""The safetensors format: read some tensors of a file, copy some to a new file.

A file is 8 bytes (the header's length, little-endian), a JSON header (name to dtype, shape and
byte range), and the bytes of all tensors end to end. The reader is our own because a client must
read chosen tensors only, because bfloat16 has no NumPy type, and because digests are taken over
the stored bytes. It checks everything that the file says before it allocates anything.

Source: the safetensors format specification, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.errors import ModelError

MAX_HEADER_BYTES = 16 << 20
MAX_FILE_BYTES = 16 << 30
MAX_TENSORS = 20_000
MAX_AXES = 8
_CHUNK = 1 << 20

_ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_DTYPES = {"I8": "<i1", "F16": "<f2", "BF16": "<u2", "F32": "<f4"}

_Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 48)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=MAX_AXES)]
    data_offsets: tuple[_Size, _Size]


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies in its file; ``start`` counts from the file's first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class TensorFile:
    """An index of a safetensors file. Tensors are read when asked for.

    Raises:
        ModelError: there is no such file, or it is not sound safetensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: Mapping[str, StoredTensor] = _read_index(path)

    def read(self, name: str) -> NDArray[Any]:
        """One tensor as float32, or as int8 where it is stored so.

        Raises:
            ModelError: no such tensor, a dtype other than F32, F16, BF16 and I8, or the file
                changed since it was opened.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise ModelError(f"{self.path.name} has no tensor {name!r}")
        if stored.dtype not in _DTYPES:
            raise ModelError(
                f"tensor {name!r} has dtype {stored.dtype}; "
                f"supported: {', '.join(sorted(_DTYPES))}. Save the model in one of these"
            )
        flat = np.frombuffer(b"".join(self.chunks(name)), _DTYPES[stored.dtype])
        if stored.dtype == "BF16":
            # bfloat16 is the upper half of a float32.
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        elif stored.dtype != "I8":
            flat = flat.astype(np.float32)
        return flat.reshape(stored.shape)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The stored bytes of one tensor, at most 1 MiB at a time."""
        stored = self.tensors[name]
        left = stored.size
        try:
            with self.path.open("rb") as file:
                file.seek(stored.start)
                while left:
                    chunk = file.read(min(left, _CHUNK))
                    if not chunk:
                        raise ModelError(f"{self.path.name} became shorter while it was read")
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise ModelError(f"cannot read {self.path.name}: {error.strerror}") from error


def copy_tensors(
    source: TensorFile,
    names: Iterable[str],
    path: Path,
    others: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Write ``names`` as they are stored in ``source`` to a new safetensors file at ``path``.

    Args:
        others: float32 tensors in place of those of the same name.
    """
    header: dict[str, object] = {}
    names = sorted(names)
    others = others or {}
    offset = 0
    for name in names:
        stored = source.tensors[name]
        dtype, size = (stored.dtype, stored.size)
        if name in others:
            dtype, size = "F32", others[name].nbytes
        span = (offset, offset + size)
        header[name] = {"dtype": dtype, "shape": stored.shape, "data_offsets": span}
        offset += size
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)  # the data starts at a multiple of 8 bytes
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for name in names:
            if name in others:
                file.write(np.ascontiguousarray(others[name], "<f4").data)
                continue
            for chunk in source.chunks(name):
                file.write(chunk)


def _read_index(path: Path) -> dict[str, StoredTensor]:
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            if file_bytes > MAX_FILE_BYTES:
                raise ModelError(f"{path.name} has {file_bytes} bytes, over {MAX_FILE_BYTES}")
            prefix = file.read(8)
            header_bytes = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1
            if not 0 < header_bytes <= min(MAX_HEADER_BYTES, file_bytes - 8):
                raise _broken(path, "its header is cut off or too large")
            header = file.read(header_bytes)
    except OSError as error:
        raise ModelError(f"cannot read {path.name}: {error.strerror}") from error
    try:
        raw = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        raw.pop("__metadata__", None)
        if len(raw) > MAX_TENSORS:
            raise _broken(path, f"it lists {len(raw)} tensors, over {MAX_TENSORS}")
        entries = {name: msgspec.json.decode(text, type=_Entry) for name, text in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(path, f"its header is malformed ({error})") from error
    return _check_layout(path, entries, 8 + header_bytes, file_bytes)


def _check_layout(
    path: Path, entries: Mapping[str, _Entry], data_start: int, file_bytes: int
) -> dict[str, StoredTensor]:
    """Every tensor's bytes must fit its shape, and together they must tile the rest of the file."""
    index: dict[str, StoredTensor] = {}
    at = data_start
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        item_bytes = _ITEM_BYTES.get(entry.dtype)
        if item_bytes is None:
            raise _broken(path, f"tensor {name!r} has the unknown dtype {entry.dtype!r}")
        begin, end = entry.data_offsets
        size = math.prod(entry.shape) * item_bytes
        if data_start + begin != at or end - begin != size:
            raise _broken(path, f"the bytes of tensor {name!r} overlap, leave a gap or do not fit")
        index[name] = StoredTensor(name, entry.dtype, entry.shape, at, size)
        at += size
    if at != file_bytes:
        raise _broken(path, f"it should end at byte {at}, but has {file_bytes}")
    return index


def _broken(path: Path, why: str) -> ModelError:
    return ModelError(f"{path.name} is not sound safetensors: {why}. Copy or export it again")
