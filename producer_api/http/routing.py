"""Routes as data: what is served, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from pydantic import BaseModel

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string"}
FILE: Schema = {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class Docs:
    """What a caller must know of a route.

    `query`, `headers` and `form` map names to JSON Schemas; `form` fields whose schema is an array
    may be repeated. `body` is the JSON body. `answers` maps statuses to the model of the JSON
    answer, to a media type, or to None for an answer without a body; problems need no entry.
    """

    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    form: Mapping[str, Schema] = field(default_factory=dict)
    answers: Mapping[int, type[BaseModel] | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One method of one path. `tag` groups it in the documentation."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    docs: Docs = Docs()


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Serve the routes; GET also answers HEAD."""
    for route in routes:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler)
        else:
            app.router.add_route(route.method, route.path, route.handler)
