"""What a client asks of the two networks: images of its latents, latents of its images.

They are answered privately by a running service, one by one; this needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from veilform.errors import InputError, ModelError
from veilform.models.sides import ClientSide
from veilform.models.vision import config
from veilform.models.vision.generative import Decoder, Encoder
from veilform.models.vision.images import ImageBatch
from veilform.serve.client import Client, InferenceCost
from veilform.vision import npy
from veilform.vision.dcvae.images import Images, as_bytes

MOST_FILE_BYTES = 64 << 20
LEAST_TRUNCATION = 0.01
"""Below it, entries would be drawn again and again."""

Network = TypeVar("Network", Decoder, Encoder)
Real = NDArray[np.float64]
Tell = Callable[[InferenceCost], None]
"""Is told of each answer, what it cost."""


def require(folder: Path, kind: type[Network]) -> Network:
    """The network of a client's folder; ModelError if it is of another kind."""
    found = config.read(folder)
    if not isinstance(found, kind):
        name = found.__struct_config__.tag
        raise ModelError(f"{folder} is of a {name}, not of a DC-VAE's {kind.__name__.lower()}")
    return found


def latents(
    count: int, width: int, truncation: float | None = None, seed: int | None = None
) -> Real:
    """Draws from the prior, (count, width). Entries that are too large are drawn again.

    Args:
        truncation: what is too large, in absolute value; by default what a decoder refuses.
        seed: None draws what nobody else has. Who knows a seed knows its latents.

    Raises:
        InputError: there is nothing to draw.
    """
    most = Decoder.largest if truncation is None else truncation
    assert most is not None
    if count < 1 or not most >= LEAST_TRUNCATION:
        raise InputError(
            f"cannot draw {count} latents with truncation {truncation}: {LEAST_TRUNCATION} or more"
        )
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((count, width))
    while (beyond := np.abs(drawn) > most).any():
        drawn[beyond] = random.standard_normal(int(beyond.sum()))
    return drawn


def check_latents(given: Real, side: ClientSide) -> None:
    """Raises InputError if they have another width, or entries that are too large or no numbers."""
    width = side.input_shape[-1]
    if given.ndim != 2 or given.shape[1] != width or not len(given):
        raise InputError(f"latents have shape {given.shape}, but the model takes N x {width}")
    side.inputs(ImageBatch(given[:, None, None, :]))


def decode(client: Client, given: Real, tell: Tell) -> Images:
    """Images (N, H, W, C) from latents (N, D).

    Raises:
        InputError: they have another width, entries beyond the bound, or that are no numbers.
        ConnectionFailed, ProtocolError, StockError: a run broke off.
    """
    check_latents(given, client.side)
    return as_bytes(_each(client, given[:, None, None, :], tell))


def encode(client: Client, pictures: Sequence[Any], tell: Tell) -> Real:
    """Latents (N, D) of pictures as the client's encoder reads them.

    Raises:
        InputError: one cannot be used.
        ConnectionFailed, ProtocolError, StockError: a run broke off.
    """
    images = client.side.encoder.pad(pictures)
    client.side.inputs(images)  # all are checked before the first is sent
    return _each(client, images.images, tell)


def _each(client: Client, inputs: Real, tell: Tell) -> Real:
    found = []
    for each in inputs:
        answer, cost = client.infer(ImageBatch(each[None]))
        found.append(answer[0])
        tell(cost)
    return np.stack(found)


def read_latents(path: Path) -> Real:
    """Numbers (N, D) of an .npy file; one row may stand alone.

    Raises:
        InputError: it cannot be read, is too large, or holds something else.
    """
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise InputError(f"{path} has over {MOST_FILE_BYTES >> 20} MiB; give fewer latents")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    found = npy.parse(content, str(path))
    if found.ndim not in (1, 2):
        raise InputError(f"{path} holds {found.dtype} of shape {found.shape}; give N x D numbers")
    return np.atleast_2d(found).astype(np.float64)
