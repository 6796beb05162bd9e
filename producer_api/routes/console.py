"""The console at `/`: a page, its style and its modules, which are a client of the API."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from producer_api.context import API
from producer_api.http.problems import Problem
from producer_api.http.routing import Docs, Route

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FOLDER = files("producer_api").joinpath("console")
# The only files that are served, so that no path leads out of the folder.
_ASSETS = {entry.name: entry for entry in _FOLDER.iterdir() if entry.name.endswith(tuple(_TYPES))}


async def page(request: web.Request) -> web.Response:
    """GET /"""
    pictures = "'self' blob:"
    if request.app[API].store.serves_own_urls:
        # The page then loads results from the store's address.
        pictures += " https: http:"
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src {pictures}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return _answer("index.html", headers)


async def asset(request: web.Request) -> web.Response:
    """GET /console/{name}"""
    return _answer(request.match_info["name"], {})


def _answer(name: str, headers: dict[str, str]) -> web.Response:
    found = _ASSETS.get(name)
    if found is None:
        raise Problem(404, "not_found", "The console has no such file.")
    # Without this, a page could run scripts of the version before an upgrade.
    headers = headers | {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    content_type = _TYPES["." + name.rpartition(".")[2]]
    return web.Response(
        body=found.read_bytes(), content_type=content_type, charset="utf-8", headers=headers
    )


ROUTES = (
    Route("GET", "/", page, "The console", "console", Docs(answers={200: "text/html"})),
    Route(
        "GET", "/console/{name}", asset, "A file of the console", "console",
        Docs(answers={200: "*/*"}),
    ),
)  # fmt: skip
