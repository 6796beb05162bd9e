"""The health port of a service: /healthz and /readyz over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web


async def serve_health(
    host: str, port: int, report: Callable[[], Mapping[str, Any]]
) -> web.AppRunner:
    """Answer /healthz and /readyz until `cleanup()` is called on the returned runner.

    Args:
        host: address to listen on.
        port: TCP port there.
        report: returns the facts of an answer; if its `ready` is false, /readyz is a 503.

    Raises:
        OSError: another program has the port.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", **report()})

    async def readyz(_request: web.Request) -> web.Response:
        facts = report()
        return web.json_response(dict(facts), status=200 if facts["ready"] else 503)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_address=True).start()
    return runner
