"""From pictures to an image model, and from an image model to one that is quicker in private.

`train` makes the first network. `compress` searches which blocks need their inner activations,
fine-tunes with the others' gone, the first network teaching, and merges each of those blocks into
one convolution. Both write folders that can be served; what was interrupted goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import TrainerCallback, set_seed

from veilform.drive.trace import Trace
from veilform.errors import InputError
from veilform.files import replacing
from veilform.models.vision.config import Family, MobileNetV2
from veilform.models.vision.merging import merge, prunable, with_merged
from veilform.models.vision.network import Network
from veilform.models.vision.plain import PlainNetwork, Tensors, calibrate
from veilform.vision import data, folder
from veilform.vision.card import card
from veilform.vision.data import Pictures, Split
from veilform.vision.folder import Model, Normal
from veilform.vision.modules import ImageNetwork
from veilform.vision.pruning import Search, check_keep, foreseen, inner_activations
from veilform.vision.training import Batches, Stage, logits_of, run_stage

CALIBRATED, CALIBRATED_AT_ONCE = 256, 16
Callbacks = tuple[TrainerCallback, ...]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How a network is compressed; the fine-tuning is CoPriv's.

    Attributes:
        search_epochs, search_lr: of the search for blocks, from the trained weights.
        slope_lr, penalty: of the slopes, and of the bytes that they pay for.
        epochs, lr: of the fine-tuning.
        distilled: weight of the teacher's logits.
    """

    search_epochs: int = 1
    search_lr: float = 0.02
    slope_lr: float = 0.01
    penalty: float = 0.1
    epochs: int = 4
    lr: float = 0.1
    distilled: float = 0.7
    batch_size: int = 64
    seed: int = 1

    @property
    def search(self) -> Stage:
        """The search as a stage."""
        return Stage("search", self.search_epochs, self.search_lr, self.batch_size, self.seed)

    @property
    def tuning(self) -> Stage:
        """The fine-tuning as a stage."""
        size, seed = self.batch_size, self.seed
        return Stage("fine-tune", self.epochs, self.lr, size, seed, self.distilled)


def small_mobilenet(shape: tuple[int, int, int], classes: int) -> MobileNetV2:
    """A MobileNetV2 of eight blocks, for pictures of some 32 pixels and a CPU to train on."""
    settings = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 2, 2))
    return MobileNetV2(*shape, classes, settings, stem=16, stem_stride=2, last=128)


def train(
    family: Family, pictures: Pictures, stage: Stage, out: Path,
    callbacks: Callbacks = (), tell: Tell = lambda text: None,
) -> dict[str, Any]:  # fmt: skip
    """Train a network from nothing and write ``out``; returns the figures of training.json."""
    normal = Normal(*data.statistics(pictures.train))
    network = family.network()
    _begin(out, {"network": network, "stage": stage, "data": _digest(pictures.train)})
    set_seed(stage.seed)
    module = ImageNetwork(network)
    ran = run_stage(
        stage, module, _batches(pictures.train, normal),
        _batches(pictures.dev, normal), out / "stages" / "base", callbacks,
    )  # fmt: skip
    tell("measuring")
    tensors = module.arrays()
    caps = _caps(PlainNetwork(network, tensors), pictures.train.first(CALIBRATED), normal)
    clipped = _module(network, tensors, caps)
    figures = {"test": _score(clipped, pictures.test, normal), "stages": {"base": ran}}
    folder.write(out, Model(family, tensors, normal), pictures, caps, figures)
    return figures


def compress(
    model: Model, pictures: Pictures, keep: float, recipe: Recipe, out: Path,
    callbacks: Callbacks = (), tell: Tell = lambda text: None,
) -> dict[str, Any]:  # fmt: skip
    """Prune to a share of inner activations, fine-tune, merge, and write ``out``.

    Returns:
        The figures of training.json: accuracy on test pictures of both networks, their exact
        online cost for one image, the blocks that kept their activations, and the curves.

    Raises:
        InputError: ``keep`` is no share, or ``out`` has stages of something else.
        ModelError: the network has no inverted residual blocks, or merged ones already.
    """
    check_keep(keep)
    family, normal, stages = prunable(model.family), model.normal, out / "stages"
    about = {"keep": keep, "recipe": recipe, "data": _digest(pictures.train)}
    _begin(out, {**about, "network": family, "tensors": _digest(model.tensors.values())})
    teacher = _module(family.network(), model.tensors)
    tell("asking the teacher")
    targets = _targets(teacher, pictures.train, normal, stages / "teacher.safetensors")
    train, dev = (_batches(split, normal) for split in (pictures.train, pictures.dev))
    ran: dict[str, Any] = {}
    kept, tensors = set(inner_activations(family)), model.tensors
    if keep < 1:
        search = Search(family, tensors, normal.largest, keep, recipe.penalty, recipe.slope_lr)
        found = run_stage(recipe.search, search, train, dev, stages / "search", callbacks)
        ran["search"] = found | search.result
        kept, tensors = search.kept(), search.arrays()
    small = with_merged(family, set(inner_activations(family)) - kept)
    student = _module(small.unmerged(), tensors)
    train = _batches(pictures.train, normal, targets)
    ran["fine-tune"] = run_stage(
        recipe.tuning, student, train, dev, stages / "fine-tune", callbacks
    )
    tell("merging and measuring")
    merged = _module(small.network(), merge(small, student.arrays()))
    changed = np.abs(logits_of(student, dev) - logits_of(merged, dev)).max()
    figures = {
        "keep": keep,
        "kept_blocks": sorted(kept),
        "merged_blocks": list(small.merged),
        "test": _score(merged, pictures.test, normal),
        "teacher_test": _score(teacher, pictures.test, normal),
        "cost": _cost(foreseen(small, student.arrays(), normal.largest)),
        "teacher_cost": _cost(foreseen(family, model.tensors, normal.largest)),
        "merging_changes_logits_by": float(changed),
        "recipe": asdict(recipe),
        "stages": ran,
    }
    folder.write(out, Model(small, merged.arrays(), normal), pictures, {}, figures)
    (out / "README.md").write_text(card(out.name, figures), encoding="utf-8")
    return figures


def _module(
    network: Network, tensors: Tensors, caps: dict[str, float] | None = None
) -> ImageNetwork:
    module = ImageNetwork(network, caps)
    module.load_arrays(tensors)
    return module


def _begin(out: Path, job: dict[str, Any]) -> None:
    """Keep what is made in a folder, so that nothing else goes on there.

    Raises:
        InputError: stages of another network, other data or other settings are there, or something
            else altogether.
    """
    path = out / "stages" / "job.json"
    if not path.is_file() and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty, and holds no training; give another folder")
    content = msgspec.json.format(msgspec.json.encode(job), indent=1)
    if path.is_file() and path.read_bytes() != content:
        raise InputError(f"{out} has stages that were made with other settings, data or weights: "
                         f"give another folder, or remove {path.parent}")  # fmt: skip
    with replacing(path) as part:
        part.write_bytes(content)


def _digest(arrays: Iterable[np.ndarray]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _caps(plain: PlainNetwork, some: Split, normal: Normal) -> dict[str, float]:
    """Where to clip each ReLU; a network of ReLU6 alone needs no calibration."""
    caps: dict[str, float] = {}
    if any(step.activation == "relu" for step in plain.network.steps):
        images = normalised(some, normal)
        for at in range(0, len(images), CALIBRATED_AT_ONCE):
            found = calibrate(plain, images[at : at + CALIBRATED_AT_ONCE])
            caps = {name: max(cap, caps.get(name, 0.0)) for name, cap in found.items()}
    return caps


def normalised(split: Split, normal: Normal) -> np.ndarray:
    """Images (B, H, W, C) as ``PlainNetwork`` and a client take them."""
    images = _batches(split, normal).__getitems__(list(range(len(split.labels))))["images"]
    return images.permute(0, 2, 3, 1).double().numpy()


def _batches(split: Split, normal: Normal, targets: np.ndarray | None = None) -> Batches:
    return Batches(split, normal.mean, normal.std, targets)


def _targets(teacher: ImageNetwork, split: Split, normal: Normal, path: Path) -> np.ndarray:
    """The teacher's logits, kept for when training goes on."""
    if path.is_file() and len(kept := load_file(path)["logits"]) == len(split.labels):
        return kept
    logits = logits_of(teacher, _batches(split, normal))
    with replacing(path) as part:
        save_file({"logits": logits}, part)
    return logits


def _score(module: ImageNetwork, split: Split, normal: Normal) -> dict[str, Any]:
    logits = logits_of(module, _batches(split, normal))
    right = float((logits.argmax(1) == split.labels).mean())
    loss = float(torch.nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(split.labels)
    ))  # fmt: skip
    return {"accuracy": round(right, 5), "loss": round(loss, 5), "pictures": len(split.labels)}


def _cost(trace: Trace) -> dict[str, int]:
    total = trace.total
    return {
        "messages": trace.messages,
        "online_bytes": total.online_bytes,
        "offline_bytes": total.offline_bytes,
        "multiply_adds": total.server_multiply_adds,
    }
