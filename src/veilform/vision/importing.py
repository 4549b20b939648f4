"""Folders of image models, made from a state dict or an exported program.

A folder has ``config.json`` (``models.vision.config``, and ``id2label``), ``model.safetensors``
with torchvision's names, ``preprocessor_config.json``, ``clips.json`` and ``winograd.json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from veilform.errors import InputError, ModelError
from veilform.models.checkpoint import CONFIG, WEIGHTS, shape_problems
from veilform.models.tensors import TensorFile
from veilform.models.vision.config import Family
from veilform.models.vision.preprocess import Preprocessing
from veilform.plan.random_model import write_tensors
from veilform.vision import exported


def write(
    folder: Path,
    family: Family,
    tensors: Mapping[str, Any],
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] | None = None,
) -> None:
    """Makes the folder of a model; it is served after ``calibration.calibrate_on``.

    Args:
        family: its architecture and sizes.
        tensors: by torchvision's names, arrays or PyTorch's tensors: a ``state_dict()``. Others
            than the network's are left out.
        preprocessing: by default pictures are resized and scaled to [0, 1].
        labels: of its classes, in order.

    Raises:
        ModelError: tensors are missing, misshapen (all are listed), or not finite.
        InputError: the folder is not empty or cannot be written, or there are too few labels.
    """
    network = family.network()
    shapes = network.tensors()
    if labels is not None and len(labels) != network.classes:
        raise InputError(f"{len(labels)} labels for {network.classes} classes")
    wrong = shape_problems({name: tuple(each.shape) for name, each in tensors.items()}, shapes)
    if wrong:
        raise ModelError("the tensors do not fit the config:\n" + "\n".join(wrong))
    ready = {name: _as_float32(name, tensors[name]) for name in shapes}
    how = preprocessing or Preprocessing.resizing(network.image)
    how.check(network.image)
    config = msgspec.to_builtins(family)
    if labels is not None:
        config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; give another folder")
        # The config last: without it a folder is no model's, with it nothing else may be missing.
        how.save(folder)
        write_tensors(folder / WEIGHTS, shapes, (ready[name] for name in shapes))
        (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=1))
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}") from None


def read_tensors(path: Path) -> Mapping[str, Any]:
    """Tensors of a safetensors file, or of a program that ``torch.export.save`` wrote (.pt2).

    Raises:
        ModelError: it is neither, or is damaged.
    """
    if path.suffix == ".pt2":
        return exported.read(path)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path} is neither .safetensors nor .pt2; pickles are never opened here: save a "
            "state_dict() with safetensors.torch.save_file"
        )
    file = TensorFile(path)
    # Counters of batches and the like are integers, which no network here has.
    floats = [n for n, stored in file.tensors.items() if stored.dtype in ("F16", "BF16", "F32")]
    return {name: file.read(name) for name in floats}


def _as_float32(name: str, tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().float().numpy()
    found = np.asarray(tensor, np.float32)
    if not np.all(np.isfinite(found)):
        raise ModelError(f"the tensor {name} has entries that are no finite numbers")
    return found
