"""The plain API: POST /classify, POST /embed, GET /models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from veilform.gateway import images
from veilform.gateway.bodies import read_json
from veilform.gateway.problems import Problem
from veilform.gateway.running import (
    DEADLINE_S,
    LONGEST_DEADLINE_S,
    SHORTEST_DEADLINE_S,
    outcomes,
)
from veilform.gateway.served import Catalogue, Served
from veilform.models.answers import CLASSIFICATION, EMBEDDING, IMAGES, Task
from veilform.models.text import Pair, Text
from veilform.serve.client import InferenceCost
from veilform.serve.pool import Outcome

MOST_TEXTS = 64

Deadline = Annotated[float, Meta(ge=SHORTEST_DEADLINE_S, le=LONGEST_DEADLINE_S)]


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text, or a pair of texts."""

    text: str
    text_pair: str | UnsetType = UNSET

    def content(self) -> Text | Pair:
        """As the encoder takes it."""
        return self.text if isinstance(self.text_pair, UnsetType) else (self.text, self.text_pair)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /classify, /embed and /ui/classify: ``text`` or ``texts``, not both."""

    text: str | UnsetType = UNSET
    text_pair: str | UnsetType = UNSET
    texts: Annotated[tuple[str | Given, ...], Meta(min_length=1, max_length=MOST_TEXTS)] | (
        UnsetType
    ) = UNSET
    model: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    deadline_s: Deadline = DEADLINE_S

    def contents(self) -> list[Text | Pair]:
        """All texts.

        Raises:
            Problem: there is none, or it is given both ways.
        """
        if isinstance(self.text, UnsetType):
            if isinstance(self.texts, UnsetType) or not isinstance(self.text_pair, UnsetType):
                raise Problem(400, "bad_input", "give 'text', with 'text_pair' or not, or 'texts'")
            return [each if isinstance(each, str) else each.content() for each in self.texts]
        if not isinstance(self.texts, UnsetType):
            raise Problem(400, "bad_input", "give 'text' or 'texts', not both")
        return [Given(self.text, self.text_pair).content()]

    def which(self) -> tuple[str | None, str | None]:
        """Name and version of the model that is asked for."""
        name = None if isinstance(self.model, UnsetType) else self.model
        return name, None if isinstance(self.version, UnsetType) else self.version


class Plain:
    """The endpoints."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def classify(self, request: Request) -> Response:
        """POST /classify: texts in JSON, or a picture."""
        if not images.is_upload(request):
            return await self._answer(request, CLASSIFICATION)
        asked = images.Uploaded(request)
        served = self._catalogue.find(*asked.which())
        served.require(IMAGES)
        deadline_s, content = asked.deadline_s, await images.picture(request)
        return await self._found(request, served, [content], deadline_s)

    async def embed(self, request: Request) -> Response:
        """POST /embed."""
        return await self._answer(request, EMBEDDING)

    async def models(self, request: Request) -> Response:
        """GET /models."""
        return json({"models": [one.described() for one in self._catalogue.all]})

    async def _answer(self, request: Request, task: Task[Any]) -> Response:
        asked = await read_json(request, Asked)
        served = self._catalogue.find(*asked.which())
        served.require(task)
        return await self._found(request, served, asked.contents(), asked.deadline_s)

    async def _found(
        self, request: Request, served: Served, inputs: Sequence[Any], deadline_s: float
    ) -> Response:
        found = await outcomes(request, served, inputs, deadline_s)
        return json(
            {
                "model": served.name,
                "version": served.version,
                "results": [{**served.result(each), "cost": cost_of(each)} for each in found],
            }
        )


def cost_of(outcome: Outcome) -> dict[str, float | int]:
    """What the run of a text took."""
    cost: InferenceCost = outcome.cost
    return {
        "online_seconds": cost.online_seconds,
        "offline_seconds": cost.offline_seconds,
        "waited_seconds": outcome.waited_s,
        "bytes_client_to_server": cost.bytes_client_to_server,
        "bytes_server_to_client": cost.bytes_server_to_client,
        "offline_bytes": cost.offline_bytes,
        "messages": cost.messages,
        "texts_in_run": outcome.batch,
    }


def json(document: Any) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(document), media_type="application/json")
