"""The Open Inference Protocol, version 2, over REST, as KServe's clients speak it.

Inputs: ``text``, BYTES [n] or [n, 1], and for pairs ``text_pair``; of an image model ``image``,
UINT8 pixels or FP32 entries, [n, height, width, channels]. Outputs: ``label``, ``score``
and ``logits`` of a classifier, ``embedding`` of an embedder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

import veilform
from veilform.gateway.bodies import read_json
from veilform.gateway.images import ImageInference, Wanted
from veilform.gateway.plain import MOST_TEXTS, json
from veilform.gateway.problems import Problem
from veilform.gateway.running import (
    DEADLINE_S,
    LONGEST_DEADLINE_S,
    SHORTEST_DEADLINE_S,
    outcomes,
)
from veilform.gateway.served import Catalogue, Served
from veilform.models.answers import EMBEDDING, IMAGES
from veilform.models.text import Pair, Text

PLATFORM = "veilform"
Axes = Annotated[tuple[Annotated[int, Meta(ge=0, le=MOST_TEXTS)], ...], Meta(max_length=2)]
Short = Annotated[str, Meta(max_length=256)]


class Tensor(msgspec.Struct, frozen=True):
    """An input. ``data`` is flat, or nested as ``shape`` says."""

    name: Short
    shape: Axes
    datatype: Short
    data: Annotated[tuple[str | tuple[str, ...], ...], Meta(max_length=MOST_TEXTS)]
    parameters: dict[str, Any] = {}

    def texts(self) -> list[str]:
        """Its elements.

        Raises:
            Problem: it is not BYTES of this shape.
        """
        if self.datatype != "BYTES":
            raise Problem(400, "bad_input", f"input {_known(self.name)} is BYTES")
        flat: list[str] = []
        for each in self.data:
            flat += [each] if isinstance(each, str) else each
        count = self.shape[0] if self.shape else -1
        if len(flat) != count or self.shape[1:] not in ((), (1,)) or not flat:
            raise Problem(
                400, "bad_input",
                f"input {_known(self.name)} has shape [n] or [n, 1] and n texts, "
                f"1 to {MOST_TEXTS}",
            )  # fmt: skip
        return flat


class Inference(msgspec.Struct, frozen=True):
    """The body of infer. Of the parameters, ``deadline_s`` is known."""

    inputs: Annotated[tuple[Tensor, ...], Meta(min_length=1, max_length=2)]
    id: Short | UnsetType = UNSET
    parameters: dict[str, Any] = {}
    outputs: Annotated[tuple[Wanted, ...], Meta(max_length=8)] = ()

    def contents(self) -> list[Text | Pair]:
        """The texts, or pairs of them."""
        given = {tensor.name: tensor for tensor in self.inputs}
        if len(given) != len(self.inputs) or not given.keys() <= {"text", "text_pair"}:
            raise Problem(400, "bad_input", "the inputs are 'text' and, for pairs, 'text_pair'")
        if "text" not in given:
            raise Problem(400, "bad_input", "the input 'text' is missing")
        first = given["text"].texts()
        if "text_pair" not in given:
            return list(first)
        second = given["text_pair"].texts()
        if len(first) != len(second):
            raise Problem(400, "bad_input", "'text' and 'text_pair' have the same shape")
        return list(zip(first, second, strict=True))


class V2:
    """The endpoints."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def server(self, request: Request) -> Response:
        """GET /v2."""
        return json({"name": "veilform", "version": veilform.__version__, "extensions": []})

    async def live(self, request: Request) -> Response:
        """GET /v2/health/live."""
        return json({"live": True})

    async def ready(self, request: Request) -> Response:
        """GET /v2/health/ready: every model has a connected session."""
        if not all(one.ready for one in self._catalogue.all):
            raise _not_ready()
        return json({"ready": True})

    async def model(self, request: Request) -> Response:
        """GET /v2/models/NAME[/versions/VERSION]."""
        served = self._find(request)
        return json(
            {
                "name": served.name,
                "versions": list(self._catalogue.versions(served.name)),
                "platform": PLATFORM,
                "inputs": _inputs(served),
                "outputs": _outputs(served),
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """GET /v2/models/NAME[/versions/VERSION]/ready."""
        served = self._find(request)
        if not served.ready:
            raise _not_ready()
        return json({"name": served.name, "ready": True})

    async def infer(self, request: Request) -> Response:
        """POST /v2/models/NAME[/versions/VERSION]/infer."""
        served = self._find(request)
        asked: Inference | ImageInference = (
            await read_json(request, ImageInference)
            if served.task is IMAGES
            else await read_json(request, Inference)
        )
        known = _outputs(served)
        wanted = {one.name for one in asked.outputs} or {one["name"] for one in known}
        if not wanted <= {one["name"] for one in known}:
            raise Problem(400, "bad_input", "the model has no such output; see its metadata")
        inputs, deadline_s = asked.contents(), _deadline_s(asked.parameters)
        found = await outcomes(request, served, inputs, deadline_s)
        results = [served.result(each) for each in found]
        answer: dict[str, Any] = {
            "model_name": served.name,
            "model_version": served.version,
            "outputs": [
                _tensor(one, [result[one["name"]] for result in results])
                for one in known
                if one["name"] in wanted
            ],
        }
        return json(answer if isinstance(asked.id, UnsetType) else {**answer, "id": asked.id})

    def _find(self, request: Request) -> Served:
        names = request.path_params
        return self._catalogue.find(names["name"], names.get("version"))


def _deadline_s(parameters: Mapping[str, Any]) -> float:
    asked = parameters.get("deadline_s", DEADLINE_S)
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        raise Problem(400, "bad_input", "the parameter deadline_s is a number")
    if not SHORTEST_DEADLINE_S <= asked <= LONGEST_DEADLINE_S:
        raise Problem(
            400,
            "bad_input",
            f"deadline_s is from {SHORTEST_DEADLINE_S:.0f} to {LONGEST_DEADLINE_S:.0f}",
        )
    return float(asked)


def _inputs(served: Served) -> list[dict[str, Any]]:
    if served.task is IMAGES:
        # FP32 is taken, too: entries as the network takes them.
        return [{"name": "image", "datatype": "UINT8", "shape": [-1, *served.side.input_shape]}]
    return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("text", "text_pair")]


def _outputs(served: Served) -> list[dict[str, Any]]:
    width = served.side.config.outputs
    if served.task is EMBEDDING:
        return [{"name": "embedding", "datatype": "FP64", "shape": [-1, width]}]
    return [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "score", "datatype": "FP64", "shape": [-1]},
        {"name": "logits", "datatype": "FP64", "shape": [-1, width]},
    ]


def _tensor(described: dict[str, Any], rows: list[Any]) -> dict[str, Any]:
    """An output tensor, its data flat and row by row."""
    width = described["shape"][1:]
    data = [each for row in rows for each in row] if width else rows
    return {**described, "shape": [len(rows), *width], "data": data}


def _not_ready() -> Problem:
    return Problem(503, "not_ready", "no session to the server is connected", {"Retry-After": "1"})


def _known(name: str) -> str:
    return name if name in ("text", "text_pair") else "'text'"
