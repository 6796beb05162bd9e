"""The client's address, as far as the proxies that say it are trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.server import ServerSettings, parse_networks
from producer_api.audit.client_address import ClientAddresses

Ask = Callable[..., Awaitable[str]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Ask a server with these trusted proxies, from 127.0.0.1, for the client it sees."""
    clients = []

    async def asked(trusted: str, *forwarded: str) -> str:
        addresses = ClientAddresses(parse_networks(trusted))

        async def who(request: web.Request) -> web.Response:
            return web.Response(text=addresses.of(request))

        app = web.Application()
        app.router.add_get("/", who)
        clients.append(TestClient(TestServer(app)))
        await clients[-1].start_server()
        headers = [("X-Forwarded-For", value) for value in forwarded]
        return await (await clients[-1].get("/", headers=headers)).text()

    yield asked
    for client in clients:
        await client.close()


async def test_without_trusted_proxies_the_header_is_ignored(ask: Ask) -> None:
    assert await ask("", "203.0.113.9") == "127.0.0.1"


async def test_a_trusted_proxy_names_the_client(ask: Ask) -> None:
    assert await ask("127.0.0.0/8", "203.0.113.9") == "203.0.113.9"


async def test_what_the_client_itself_sent_is_not_believed(ask: Ask) -> None:
    assert await ask("127.0.0.1", "198.51.100.1, 203.0.113.9") == "203.0.113.9"


async def test_a_chain_of_trusted_proxies_is_followed(ask: Ask) -> None:
    trusted = "127.0.0.1, 10.0.0.0/8"
    assert await ask(trusted, "198.51.100.1, 203.0.113.9, 10.1.1.1") == "203.0.113.9"
    assert await ask(trusted, "203.0.113.9", "10.1.1.1") == "203.0.113.9"


async def test_if_all_are_proxies_the_farthest_is_the_client(ask: Ask) -> None:
    assert await ask("127.0.0.1, 10.0.0.0/8", "10.2.2.2, 10.1.1.1") == "10.2.2.2"


@pytest.mark.parametrize(
    ("hop", "address"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
async def test_ports_and_brackets_are_left_out(ask: Ask, hop: str, address: str) -> None:
    assert await ask("127.0.0.1", hop) == address


@pytest.mark.parametrize("hop", ["unknown", "", "<script>", "203.0.113.9, secret"])
async def test_a_hop_that_is_no_address_ends_the_chain(ask: Ask, hop: str) -> None:
    assert await ask("127.0.0.1", hop) == "127.0.0.1"


def test_a_proxy_that_is_no_network_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="IMAGEMILL_TRUSTED_PROXIES: 'proxy' is no address"):
        ServerSettings(_env_file=None, trusted_proxies="10.0.0.0/8, proxy")  # type: ignore[call-arg]
