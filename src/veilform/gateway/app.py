"""The gateway's HTTP application: routes, and what is around all of them."""

from __future__ import annotations

from collections.abc import Collection
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from veilform.errors import VeilformError
from veilform.gateway.events import Events
from veilform.gateway.guard import LOOPBACK, Guard
from veilform.gateway.openapi import document
from veilform.gateway.plain import Plain, json
from veilform.gateway.problems import Problem, handle
from veilform.gateway.served import Catalogue
from veilform.gateway.v2 import V2

_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


def build(
    catalogue: Catalogue, hosts: Collection[str] = LOOPBACK, token: str | None = None
) -> ASGIApp:
    """The application for these models; see `Guard` for the rest."""
    plain, v2, events = Plain(catalogue), V2(catalogue), Events(catalogue)
    specification = document()

    async def openapi(request: Request) -> Response:
        return json(specification)

    routes = [
        Route("/classify", plain.classify, methods=["POST"]),
        Route("/embed", plain.embed, methods=["POST"]),
        Route("/models", plain.models),
        Route("/ui/classify", events.classify, methods=["POST"]),
        Route("/openapi.json", openapi),
        Route("/v2", v2.server),
        Route("/v2/health/live", v2.live),
        Route("/v2/health/ready", v2.ready),
    ]
    for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(model, v2.model),
            Route(f"{model}/ready", v2.model_ready),
            Route(f"{model}/infer", v2.infer, methods=["POST"]),
        ]
    routes += [_page(path, *file) for path, file in _PAGE.items()]
    app = Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys((Problem, VeilformError, HTTPException), handle),
    )
    # A redirect would repeat the path and the Host header that came.
    app.router.redirect_slashes = False
    return Guard(app, hosts, token)


def _page(path: str, name: str, kind: str) -> Route:
    content = resources.files("veilform.gateway").joinpath("page", name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, answer)
