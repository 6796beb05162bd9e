"""CORS: lets pages of the origins in a setting call the API from a browser.

aiohttp-cors is not used: it leaves answers of no route, such as a 404, unreadable for the page,
sends no `Vary: Origin`, and answers preflights of other origins itself.
"""

from __future__ import annotations

import re

from aiohttp import hdrs, web

from imagemill.settings.environment import SettingsInvalid
from producer_api.http.problems import Handler

_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+")
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_EXPOSED = (
    "Content-Disposition, Idempotent-Replayed, Imagemill-Job, Imagemill-Model, Location, "
    "Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, Server-Timing"
)
# Seconds that browsers keep a permission; Chromium caps it at 7200, older Safari at 600.
_KEPT_S = "600"


def parse_origins(text: str) -> frozenset[str]:
    """Parse a comma separated list of origins into the form that browsers send; `*` means all.

    Raises:
        SettingsInvalid: one is no origin; the text names it.
    """
    origins = frozenset(part.strip().rstrip("/").lower() for part in text.split(",")) - {""}
    for origin in sorted(origins - {"*"}):
        if not _ORIGIN.fullmatch(origin):
            raise SettingsInvalid(
                f"IMAGEMILL_CORS_ORIGINS: {origin!r} is no origin; expected the scheme, host and "
                "port of pages, as in https://example.org:8443, or *"
            )
    return origins


def allow_origins(app: web.Application, origins: frozenset[str]) -> None:
    """Answer preflights of these origins, and let their pages read every response.

    No credentials are allowed: the API takes none from browsers.
    """
    if not origins:
        return

    def allowed(request: web.Request) -> str | None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or not ("*" in origins or origin in origins):
            return None
        return "*" if "*" in origins else origin

    @web.middleware
    async def preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if request.method != hdrs.METH_OPTIONS or not asked or allowed(request) is None:
            return await handler(request)
        answer = web.Response(status=204)
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = _METHODS
        wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
        if wanted:
            answer.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = wanted
        answer.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = _KEPT_S
        return answer

    # A signal and no middleware: streams and files have sent their headers before a middleware
    # gets the response.
    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        origin = allowed(request)
        if origin is not None:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        if "*" not in origins:
            # Otherwise a cache could give one origin the answer for another.
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)

    app.middlewares.append(preflights)
    app.on_response_prepare.append(mark)
