"""Tensors of a program that ``torch.export.save`` wrote, read without PyTorch and without pickle.

A .pt2 file is a zip archive with one raw file a tensor and a JSON list of them. Tensors that were
saved as pickles, which PyTorch does where they share storage with others, are refused.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from veilform.errors import ModelError

_INDEX = "data/weights/model_weights_config.json"
_MOST_INDEX_BYTES = 16 << 20
_MOST_BYTES = 4 << 30
_TYPES = {5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 13: "<u2"}
"""PyTorch's numbers of types; 13 is bfloat16."""
_BFLOAT16 = 13
_BROKEN = (zipfile.BadZipFile, EOFError, KeyError, OSError, RuntimeError, ValueError)
"""What zipfile raises for archives that are damaged, encrypted, or of a later kind."""

Extent = Annotated[int, msgspec.Meta(ge=0, lt=1 << 40)]


class _Int(msgspec.Struct, frozen=True):
    as_int: Extent


class _Meta(msgspec.Struct, frozen=True):
    dtype: int
    sizes: Annotated[tuple[_Int, ...], msgspec.Meta(max_length=8)]
    strides: Annotated[tuple[_Int, ...], msgspec.Meta(max_length=8)]
    storage_offset: _Int


class _Entry(msgspec.Struct, frozen=True):
    path_name: Annotated[str, msgspec.Meta(pattern=r"^\w+$")]
    use_pickle: bool
    tensor_meta: _Meta | None


class _Index(msgspec.Struct, frozen=True):
    config: Annotated[dict[str, _Entry], msgspec.Meta(max_length=20_000)]


def read(path: Path) -> Mapping[str, NDArray[Any]]:
    """All parameters and buffers by name.

    Raises:
        ModelError: there is no such file, or it is no sound .pt2 archive of raw tensors.
    """
    # In memory, so that no size that the archive tells of is allocated before it is there.
    content = _content(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if name.endswith("/" + _INDEX)]
            if len(names) != 1:
                raise ModelError(f"{path} is no program of torch.export.save: no {_INDEX} in it")
            listed = _member(archive, names[0], min(_MOST_INDEX_BYTES, len(content)))
            index = msgspec.json.decode(listed, type=_Index)
            folder = names[0].rpartition("/")[0]
            read: dict[tuple[str, int], NDArray[Any]] = {}
            return {
                name: _tensor(archive, folder, name, entry, len(content), read)
                for name, entry in index.config.items()
            }
    except (msgspec.MsgspecError, *_BROKEN) as error:
        raise ModelError(f"{path} is no program of torch.export.save: {error}") from None


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path} is over the limit of {_MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A stored file; bounded, and not compressed, so that it is no larger than the archive."""
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
        raise ModelError(f"{name} is compressed or over the limit of {most} bytes")
    return archive.read(member)


def _tensor(
    archive: zipfile.ZipFile,
    folder: str,
    name: str,
    entry: _Entry,
    most: int,
    read: dict[tuple[str, int], NDArray[Any]],
) -> NDArray[Any]:
    """One tensor. Those that share a stored file share its numbers, which ``read`` keeps."""
    meta = entry.tensor_meta
    if entry.use_pickle or meta is None:
        raise ModelError(
            f"{name} is stored as a pickle, which is never opened here: save the model's "
            "state_dict() as safetensors"
        )
    if meta.dtype not in _TYPES:
        raise ModelError(f"{name} has PyTorch's type {meta.dtype}: save it as float32")
    shape = tuple(size.as_int for size in meta.sizes)
    expected = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    steps = [stride.as_int for stride in meta.strides]
    in_order = all(
        have == want or size == 1 for have, want, size in zip(steps, expected, shape, strict=False)
    )
    flat = read.get((entry.path_name, meta.dtype))
    if flat is None:
        flat = _numbers(_member(archive, f"{folder}/{entry.path_name}", most), name, meta.dtype)
        read[entry.path_name, meta.dtype] = flat
    if len(steps) != len(shape) or not in_order or meta.storage_offset.as_int:
        raise ModelError(f"{name} is not stored row by row: call .contiguous() before exporting")
    if flat.size != math.prod(shape):
        raise ModelError(f"{name} has {flat.size} numbers for the shape {shape}")
    return flat.reshape(shape)


def _numbers(raw: bytes, name: str, dtype: int) -> NDArray[Any]:
    if len(raw) % np.dtype(_TYPES[dtype]).itemsize:
        raise ModelError(f"{name} has {len(raw)} bytes, which are no whole numbers")
    flat = np.frombuffer(raw, _TYPES[dtype])
    if dtype == _BFLOAT16:
        return (flat.astype(np.uint32) << 16).view(np.float32)
    return flat
