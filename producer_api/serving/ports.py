"""Listens on the ports of an API and stops in the right order."""

from __future__ import annotations

import asyncio

from aiohttp import web

from imagemill.settings import ApiSettings
from producer_api.app import create_ops_app
from producer_api.http.metrics import METRICS
from producer_api.http.server import Runner
from producer_api.serving.tls import ServerTls


class ApiServer:
    """One API on its ports: `start` before use, `stop` at the end, also of a failed start."""

    def __init__(self, app: web.Application, settings: ApiSettings) -> None:
        """Read the TLS files, if there are any.

        Raises:
            SettingsInvalid: one cannot be used.
        """
        self._app = app
        self._settings = settings
        self._tls = ServerTls(settings) if settings.tls_certificate else None
        self._runner = Runner(app, access_log=None)
        self._ops: Runner | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that the API listens on."""
        host, port = self._runner.addresses[0][:2]
        return host, port

    async def start(self) -> None:
        """Start the application and listen.

        Raises:
            OSError: a port is taken, or an address is not of this machine.
        """
        settings = self._settings
        await self._runner.setup()
        context = None
        if self._tls is not None:
            context = self._tls.context
            self._app[METRICS].register(self._tls)
            self._following = asyncio.create_task(self._tls.follow())
        await web.TCPSite(self._runner, settings.host, settings.port, ssl_context=context).start()
        if settings.ops_port is not None:
            self._ops = Runner(create_ops_app(self._app), access_log=None)
            await self._ops.setup()
            host = settings.host if settings.ops_host is None else settings.ops_host
            await web.TCPSite(self._ops, host, settings.ops_port).start()

    async def stop(self) -> None:
        """Answer the requests in flight and stop; health is answered until then."""
        if self._following is not None:
            self._following.cancel()
        await self._runner.cleanup()
        if self._ops is not None:
            await self._ops.cleanup()
