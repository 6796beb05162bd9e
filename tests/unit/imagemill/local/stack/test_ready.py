"""Services are asked, and said to be, where they listen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from imagemill.local.errors import LocalError
from imagemill.local.ports import is_free
from imagemill.local.stack.ready import answers_ready, api_is_ready
from imagemill.local.stack.system import LocalSystem
from imagemill.process.health import serve_health
from imagemill.settings import ApiSettings
from producer_api.serving.tls import ServerTls
from tests.support.certificates import Authority


def _here(host: str) -> bool:
    """Whether this machine has that address; not all have IPv6."""
    try:
        return is_free(0, host)
    except LocalError:
        return False


HOSTS = {
    "127.0.0.1": "127.0.0.1",
    "127.0.0.2": "127.0.0.2",
    "localhost": "localhost",
    "0.0.0.0": "127.0.0.1",
    "": "127.0.0.1",
    "::1": "[::1]",
    "::": "[::1]",
    socket.gethostname(): socket.gethostname(),
}


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], LocalSystem]:
    """The system with an API on that host and port."""
    monkeypatch.chdir(tmp_path)

    def system(host: str, port: int) -> LocalSystem:
        monkeypatch.setenv("IMAGEMILL_HOST", host)
        monkeypatch.setenv("PORT", str(port))
        return LocalSystem()

    return system


@pytest.mark.parametrize("host", [*filter(_here, HOSTS)])
async def test_a_service_is_reached_where_it_listens(host, free_port, at):
    port = free_port()
    system = at(host, port)
    assert system.url == f"http://{HOSTS[host]}:{port}"
    runner = await serve_health(host, port, lambda: {"ready": True})
    try:
        assert not is_free(port, host)
        assert await asyncio.to_thread(answers_ready, system.api.reached_host, port)
    finally:
        await runner.cleanup()
    assert is_free(port, host)
    assert not answers_ready(system.api.reached_host, port)


@pytest.fixture
def api(tmp_path: Path, free_port) -> Callable[..., ApiSettings]:
    """Make settings of an API on a free port of this machine."""

    def make(**fields: object) -> ApiSettings:
        values = {"home": tmp_path, "host": "127.0.0.1", "port": free_port()} | fields
        return ApiSettings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]

    return make


async def test_an_api_with_tls_is_asked_over_tls_whatever_name_its_certificate_has(api, tmp_path):
    certificate, key = Authority("a CA").issue(tmp_path, "server", "images.example.org")
    settings = api(tls_certificate=certificate, tls_key=key)
    assert settings.public_base_url == f"https://localhost:{settings.port}"

    async def ready(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/readyz", ready)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ServerTls(settings).context
    await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
    assert await asyncio.to_thread(api_is_ready, settings)
    await runner.cleanup()


async def test_an_api_with_a_port_of_health_is_asked_there(api, free_port):
    settings = api(ops_port=free_port(), ops_host="127.0.0.2")
    assert not await asyncio.to_thread(api_is_ready, settings)
    runner = await serve_health("127.0.0.2", settings.ops_port, lambda: {"ready": True})
    assert await asyncio.to_thread(api_is_ready, settings)
    await runner.cleanup()


def test_client_certificates_need_a_port_of_health(api, tmp_path):
    with pytest.raises(ValueError, match="IMAGEMILL_OPS_PORT: must be set"):
        api(tls_certificate=tmp_path / "a.pem", tls_client_ca=tmp_path / "b.pem")


def test_links_to_files_name_the_one_address_that_the_api_listens_on(at):
    assert at("0.0.0.0", 81).api.public_base_url == "http://localhost:81"
    assert at("127.0.0.1", 81).api.public_base_url == "http://localhost:81"
    assert at("fd00::2", 81).api.public_base_url == "http://[fd00::2]:81"


def test_a_port_that_another_address_has_taken_is_free(free_port):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert is_free(port, "127.0.0.2")
        assert not is_free(port, "0.0.0.0")


@pytest.mark.parametrize("host", ["203.0.113.9", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_said(host):
    with pytest.raises(LocalError, match=f"nothing can listen on {host}, port 81: .+"):
        is_free(81, host)
