"""Services are asked, and said to be, where they listen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from imagemill.local.errors import LocalError
from imagemill.local.ports import is_free
from imagemill.local.stack.ready import answers_ready
from imagemill.local.stack.system import LocalSystem
from imagemill.process.health import serve_health


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
