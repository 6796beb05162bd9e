"""Routes as data: what is served, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """One method of one path. `tag` groups it in the documentation."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Serve the routes; GET also answers HEAD."""
    for route in routes:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler)
        else:
            app.router.add_route(route.method, route.path, route.handler)
