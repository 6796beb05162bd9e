"""Liveness, readiness, and a summary of both for people."""

from __future__ import annotations

import asyncio

from aiohttp import web

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.storage import StoreUnavailable
from producer_api.context import API, Api
from producer_api.http.query import json_answer
from producer_api.http.routing import Route
from producer_api.read_model.errors import ReadModelBehind

_CHECK_TIMEOUT_S = 3.0


async def healthz(request: web.Request) -> web.Response:
    """GET /healthz: 503 only when this process must be restarted."""
    alive = request.app[API].read_model.feed.alive
    return json_answer({"status": "ok" if alive else "failed"}, status=200 if alive else 503)


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: 200 when jobs can be submitted and read here, else 503."""
    checks = await _checks(request.app[API])
    ready = all(text == "ok" for text in checks.values())
    return json_answer({"ready": ready, "checks": checks}, status=200 if ready else 503)


async def health(request: web.Request) -> web.Response:
    """GET /health: the checks of /readyz with a summary, always 200 while the process answers."""
    checks = await _checks(request.app[API])
    healthy = all(text == "ok" for text in checks.values())
    return json_answer({"status": "healthy" if healthy else "degraded", "checks": checks})


async def _checks(api: Api) -> dict[str, str]:
    broker, store = await asyncio.gather(_broker(api), _store(api))
    return {
        "broker": broker,
        "store": store,
        "projection": "ok" if api.read_model.ready else "reading the topics",
    }


async def _broker(api: Api) -> str:
    try:
        await asyncio.wait_for(api.read_model.catch_up(), _CHECK_TIMEOUT_S)
    except (KafkaUnavailable, TimeoutError):
        return "not reached"
    except ReadModelBehind as error:
        return str(error)
    return "ok"


async def _store(api: Api) -> str:
    try:
        await asyncio.wait_for(api.store.check(), _CHECK_TIMEOUT_S)
    except (StoreUnavailable, TimeoutError) as error:
        return str(error) or "did not answer in time"
    return "ok"


PROBES = (
    Route("GET", "/healthz", healthz, "Liveness", "health"),
    Route("GET", "/readyz", readyz, "Readiness: broker and store reached", "health"),
)
ROUTES = (*PROBES, Route("GET", "/health", health, "Summary", "health"))
