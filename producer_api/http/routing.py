"""Routes as data: their handlers, and their part of the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from aiohttp import HttpVersion11, hdrs, web
from pydantic import BaseModel

from producer_api.http.problems import Handler, Problem, problem_response

Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string"}
FILE: Schema = {"type": "string", "format": "binary"}
PLACEHOLDER = re.compile(r"{(\w+)(?::[^{}]*)?}")


@dataclass(frozen=True)
class Docs:
    """The parameters, body and answers of a route, for the OpenAPI document.

    `query`, `headers` and `form` map names to JSON Schemas; `form` fields whose schema is an array
    may be repeated. `body` is the JSON body. `answers` maps statuses to the model of the JSON
    answer, to a media type, or to None for an answer without a body; problems need no entry.
    `media` maps statuses to one more media type that the Accept header can ask for.
    """

    query: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    body: type[BaseModel] | None = None
    form: Mapping[str, Schema] = field(default_factory=dict)
    answers: Mapping[int, type[BaseModel] | str | None] = field(default_factory=dict)
    media: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One method of one path. `tag` groups it in the documentation."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    docs: Docs = Docs()

    @property
    def operation_id(self) -> str:
        """The route's id in the OpenAPI document and in the table of scopes."""
        return operation_id(self.method, self.path)


@cache
def operation_id(method: str, path: str) -> str:
    """Return the id of a method of a path, which is as in a route or as aiohttp shows it."""
    words = re.sub(r"\W+", "_", PLACEHOLDER.sub(r"by_\1", path)).strip("_")
    return f"{method.lower()}_{words}{'_slash' if path.endswith('/') else ''}"


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Serve the routes; GET also answers HEAD."""
    for route in routes:
        add = (
            app.router.add_get
            if route.method == "GET"
            else partial(app.router.add_route, route.method)
        )
        add(route.path, route.handler, expect_handler=_expect)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Answer an Expect header before the body is read (RFC 9110, 10.1.1)."""
    if request.version < HttpVersion11:
        return None
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        return problem_response(
            Problem(417, "expectation_failed", "The only expectation met here is 100-continue.")
        )
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # An interim answer; aiohttp would take it for the beginning of the final one.
    request.writer.output_size = 0
    return None
