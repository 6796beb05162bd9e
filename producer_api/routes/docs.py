"""The OpenAPI document of the API, and a page that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

import orjson
from aiohttp import web

from producer_api.access.scopes import SCOPES
from producer_api.http.openapi import openapi_document
from producer_api.http.routing import Docs, Route

# The page runs no scripts but its own.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'"


def docs_routes(described: Iterable[Route]) -> tuple[Route, ...]:
    """Make the routes /openapi.json and /docs; the document has `described` and these."""
    table = list(described)
    cached: list[bytes] = []

    async def openapi(_request: web.Request) -> web.Response:
        """GET /openapi.json"""
        if not cached:
            document = openapi_document(table, SCOPES)
            cached.append(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return web.Response(body=cached[0], content_type="application/json")

    routes = (
        Route("GET", "/openapi.json", openapi, "This document", "documentation"),
        Route("GET", "/docs", _page, "A page that shows it", "documentation", _HTML),
        Route("GET", "/docs/viewer.js", _script, "The page's script", "documentation", _SCRIPT),
    )
    table += routes
    return routes


_HTML = Docs(answers={200: "text/html"})
_SCRIPT = Docs(answers={200: "text/javascript"})


async def _page(_request: web.Request) -> web.Response:
    """GET /docs"""
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(text=_asset("docs.html"), content_type="text/html", headers=headers)


async def _script(_request: web.Request) -> web.Response:
    """GET /docs/viewer.js"""
    return web.Response(text=_asset("docs.js"), content_type="text/javascript")


def _asset(name: str) -> str:
    return files("producer_api").joinpath("static", name).read_text(encoding="utf-8")
