"""Images in requests: a picture as the body, or tensors of the Open Inference Protocol."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request

from veilform.gateway.bodies import read_body
from veilform.gateway.guard import MOST_IMAGE_BYTES
from veilform.gateway.problems import Problem
from veilform.gateway.running import DEADLINE_S, LONGEST_DEADLINE_S, SHORTEST_DEADLINE_S

MOST_IMAGES = 64
MOST_NUMBERS = 1 << 20
Axis = Annotated[int, Meta(ge=1, le=1 << 14)]
Short = Annotated[str, Meta(max_length=256)]
_DTYPES = {"UINT8": np.uint8, "FP32": np.float32}


class Uploaded:
    """A request to /classify whose body is a picture; model, version and deadline in the query."""

    def __init__(self, request: Request) -> None:
        self._query = request.query_params

    def which(self) -> tuple[str | None, str | None]:
        """Name and version of the model that is asked for."""
        return self._query.get("model"), self._query.get("version")

    @property
    def deadline_s(self) -> float:
        """Seconds; Problem (400) if it is none that may be asked for."""
        try:
            asked = float(self._query.get("deadline_s", DEADLINE_S))
        except ValueError:
            asked = math.nan
        if not SHORTEST_DEADLINE_S <= asked <= LONGEST_DEADLINE_S:
            raise Problem(
                400, "bad_input",
                f"deadline_s is from {SHORTEST_DEADLINE_S:.0f} to {LONGEST_DEADLINE_S:.0f}",
            )  # fmt: skip
        return asked


def is_upload(request: Request) -> bool:
    """Whether the body says that it is a picture."""
    return request.headers.get("content-type", "").strip().lower().startswith("image/")


async def picture(request: Request) -> bytes:
    """The body; bounded in size and time."""
    return await read_body(request, MOST_IMAGE_BYTES)


class Tensor(msgspec.Struct, frozen=True):
    """The input ``image``: UINT8 pixels, or FP32 entries as the network takes them, flat."""

    name: Short
    shape: Annotated[tuple[Axis, ...], Meta(min_length=3, max_length=4)]
    datatype: Short
    data: Annotated[tuple[float, ...], Meta(max_length=MOST_NUMBERS)]
    parameters: dict[str, Any] = {}

    def images(self) -> list[Any]:
        """Arrays (H, W, C).

        Raises:
            Problem: it is not what it says that it is.
        """
        if self.name != "image" or self.datatype not in _DTYPES:
            raise Problem(400, "bad_input", "the input is 'image', UINT8 or FP32")
        shape = self.shape if len(self.shape) == 4 else (1, *self.shape)
        if shape[0] > MOST_IMAGES or math.prod(shape) != len(self.data):
            raise Problem(
                400, "bad_input",
                f"the input 'image' has shape [n, height, width, channels], n from 1 to "
                f"{MOST_IMAGES}, and so many numbers, flat",
            )  # fmt: skip
        numbers = np.asarray(self.data, np.float64)
        if self.datatype == "UINT8" and not np.all((numbers % 1 == 0) & (numbers // 256 == 0)):
            raise Problem(400, "bad_input", "UINT8 numbers are whole, from 0 to 255")
        return list(numbers.astype(_DTYPES[self.datatype]).reshape(shape))


class Wanted(msgspec.Struct, frozen=True):
    """An output that is asked for."""

    name: Short
    parameters: dict[str, Any] = {}


class ImageInference(msgspec.Struct, frozen=True):
    """The body of infer for an image model."""

    inputs: Annotated[tuple[Tensor, ...], Meta(min_length=1, max_length=1)]
    id: Short | UnsetType = UNSET
    parameters: dict[str, Any] = {}
    outputs: Annotated[tuple[Wanted, ...], Meta(max_length=8)] = ()

    def contents(self) -> list[Any]:
        """The images."""
        return self.inputs[0].images()
