"""The parsers of image models: pictures, exported programs, what a folder says of pixels."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from fuzzing.target import Target
from veilform.models.checkpoint import CONFIG
from veilform.models.vision.described import ImageConfig
from veilform.models.vision.images import ImageEncoder
from veilform.models.vision.preprocess import PREPROCESSOR, Preprocessing
from veilform.vision import exported

IMAGE = (8, 8, 3)


def pictures() -> Target:
    """A picture file, to an image."""
    encoder = ImageEncoder(IMAGE, Preprocessing.resizing(IMAGE))

    def parse(data: bytes) -> None:
        encoder.encode([data])

    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    corpus = [_png(pixels), b"P6 4 4 255 " + pixels.tobytes(), b"P5 4 4 255 " + bytes(16)]
    try:
        from PIL import Image
    except ModuleNotFoundError:  # then all are refused alike
        return Target("pictures", corpus, parse)
    for kind in ("JPEG", "BMP", "WEBP"):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, kind)
        corpus.append(out.getvalue())
    return Target("pictures", corpus, parse)


def programs(folder: Path) -> Target:
    """A .pt2 archive: its list of tensors, and every tensor in it."""
    path = folder / "fuzzed.pt2"
    meta = {"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 2}], "storage_offset": {"as_int": 0},
            "strides": [{"as_int": 2}, {"as_int": 1}]}  # fmt: skip
    entry = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/data/weights/weight_0", bytes(16))
        index = json.dumps({"config": {"a": entry}})
        archive.writestr("x/data/weights/model_weights_config.json", index)

    def parse(data: bytes) -> None:
        path.write_bytes(data)
        exported.read(path)

    return Target("exported programs", [out.getvalue()], parse)


def folders(folder: Path) -> Target:
    """config.json of an image model, or preprocessor_config.json."""
    config = {"family": "mobilenet_v2", "height": 8, "width": 8, "classes": 2, "stem": 4,
              "settings": [[1, 4, 1, 1]], "last": 8, "id2label": {"0": "a", "1": "b"}}  # fmt: skip
    how = {"do_resize": True, "size": {"height": 8, "width": 8}, "do_normalize": True,
           "image_mean": [0.5, 0.5, 0.5], "image_std": [0.2, 0.2, 0.2]}  # fmt: skip

    def parse(data: bytes) -> None:
        for name in (CONFIG, PREPROCESSOR):
            (folder / name).write_bytes(data)
        if b"mean" in data:
            Preprocessing.read(folder, IMAGE).largest(IMAGE[2])
        else:
            ImageConfig.read(folder)

    return Target("image folders", [json.dumps(each).encode() for each in (config, how)], parse)


def _png(pixels: np.ndarray) -> bytes:
    """A PNG file without Pillow."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )
