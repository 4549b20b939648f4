"""Which model a folder holds, by its config.json; the one place that knows all families.

A network of ``models.vision`` says ``"family"``; all else is a Hugging Face encoder of texts, for
whose problems ``models.bert.validate`` has the words. A new family is a `Family` here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veilform.errors import InputError, ModelError
from veilform.models import checkpoint
from veilform.models.answers import Answering
from veilform.models.bert import sides as texts
from veilform.models.bert import validate
from veilform.models.bert.calibration import CALIBRATION
from veilform.models.bert.clear import ClearText
from veilform.models.bert.config import BertConfig
from veilform.models.sides import Clear, ClientSide, ServerSide
from veilform.models.vision import sides as images
from veilform.models.vision.clear import ClearImages
from veilform.models.vision.described import ImageConfig


@dataclass(frozen=True)
class Family:
    """What makes a folder's model into what serves it, asks it, or computes in the clear.

    Attributes:
        inputs: what it takes, in a word.
        examine: every reason why a folder cannot be served.
        server: of a folder, with a private embedding or not, only at calibrated lengths or not.
        client: of a folder that `publish` wrote.
        clear: of a folder, with a type of floats.
        described: what a folder says of its model's outputs.
    """

    inputs: str
    examine: Callable[[Path], list[str]]
    server: Callable[[Path, bool, bool], ServerSide]
    client: Callable[[Path], ClientSide]
    publish: Callable[[Any, Path], None]
    clear: Callable[[Path, type[np.floating[Any]]], Clear]
    described: Callable[[Path], Answering]


def _text_problems(folder: Path) -> list[str]:
    problems = validate.examine(folder)
    if not problems and not (folder / CALIBRATION).is_file():
        return [f"it has no {CALIBRATION}: run `veilform calibrate` on it with typical texts"]
    return problems or _refusals(TEXTS, folder)


def _image_problems(folder: Path) -> list[str]:
    return _refusals(IMAGES, folder)


def _refusals(family: Family, folder: Path) -> list[str]:
    try:
        family.server(folder, False, True)
    except ModelError as error:
        return str(error).splitlines()
    return []


def _image_side(folder: Path, private_embedding: bool, _: bool) -> ServerSide:
    if private_embedding:
        raise InputError(f"{folder} takes images: it has no embedding to keep private")
    return images.ServerSide(folder)


TEXTS = Family(
    "texts",
    _text_problems,
    lambda folder, private, only: texts.ServerSide(folder, private, only_calibrated=only),
    texts.ClientSide,
    texts.publish,
    ClearText,
    BertConfig.read,
)
IMAGES = Family(
    "images",
    _image_problems,
    _image_side,
    images.ClientSide,
    images.publish,
    ClearImages,
    ImageConfig.read,
)


def of(folder: Path) -> Family:
    """The family of a folder's model, a server's or a client's.

    Raises:
        ModelError: there is no folder, or it has no config.json, or it is of several networks.
    """
    if (folder / "decoder" / checkpoint.CONFIG).is_file():
        raise ModelError(f"{folder} is a DC-VAE's: give {folder}/decoder or {folder}/encoder")
    return IMAGES if "family" in checkpoint.read_config(folder) else TEXTS


def require_texts(folder: Path, what: str) -> None:
    """Raises InputError if a folder's model takes something else; ModelError if it is none."""
    if of(folder) is not TEXTS:
        raise InputError(f"{folder} takes {of(folder).inputs}: only models of texts are {what}")


def examine(folder: Path) -> list[str]:
    """Every reason why a folder cannot be served; none if it can."""
    try:
        return of(folder).examine(folder)
    except ModelError as error:
        return str(error).splitlines()


def server_side(
    folder: Path, private_embedding: bool = False, *, only_calibrated: bool = True
) -> ServerSide:
    """A model as its server holds it.

    Args:
        private_embedding: words are looked up under secure computation too.
        only_calibrated: leave out lengths of texts that calibration did not reach.

    Raises:
        ModelError: it cannot be served.
        InputError: it has no embedding.
    """
    return of(folder).server(folder, private_embedding, only_calibrated)


def client_side(folder: Path) -> ClientSide:
    """A model as its clients hold it, from a folder that `publish` wrote; ModelError if none."""
    return of(folder).client(folder)


def publish(side: ServerSide, folder: Path) -> None:
    """Writes the folder that a client needs; nothing happens if it is there already.

    Raises:
        InputError: the folder holds anything else, or cannot be written.
    """
    of(side.folder).publish(side, folder)


def described(folder: Path) -> Answering:
    """What a folder's model is for, without reading its weights; ModelError if it is broken."""
    return of(folder).described(folder)


def clear(folder: Path, dtype: type[np.floating[Any]] = np.float32) -> Clear:
    """A model in the clear; ModelError if it is broken.

    Args:
        dtype: of the arithmetic, where a family lets one choose.
    """
    return of(folder).clear(folder, dtype)
