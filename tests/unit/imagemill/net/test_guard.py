"""The guard: which URLs pass, and the addresses its session connects to."""

from __future__ import annotations

import pickle
import socket
import threading

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import TestServer

from imagemill.net.addresses import AddressPolicy
from imagemill.net.errors import UrlBlocked, UrlUnreachable
from imagemill.net.fetch import FetchLimits, UrlFetcher
from imagemill.net.guard import GuardedResolver, UrlGuard, guarded_session
from imagemill.net.resolver import Lookup, ThreadPerLookup
from imagemill.net.url import parse_url
from schemas.errors import ErrorCode

LOOPBACK = AddressPolicy.parse("127.0.0.1")


ODD_LOOPBACKS = ("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "0x", "a.0X7F")


def fetch(
    url: str, policy: AddressPolicy, lookup: Lookup | None = None, total_s: float = 1
) -> None:
    """Fetch a URL that cannot be reached, by the session of an inference process."""
    limits = FetchLimits(max_bytes=1000, total_s=total_s)
    fetcher = UrlFetcher(UrlGuard(policy), limits, resolver=ThreadPerLookup(lookup))
    try:
        fetcher.fetch(url)
    finally:
        fetcher.close()


async def resolved(host: str, policy: AddressPolicy, *addresses: str) -> list[str]:
    """The checked addresses of a host that the system resolves to these."""
    resolver = GuardedResolver(UrlGuard(policy), ThreadPerLookup(lambda host, port: [*addresses]))
    return [result["host"] for result in await resolver.resolve(host, 80)]


def never(host: str, port: int) -> list[str]:
    raise AssertionError(f"{host} must not be looked up")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://example.com/a.png", "must begin with http"),
        ("file:///etc/passwd", "must begin with http"),
        ("gopher://example.com", "must begin with http"),
        ("//example.com/a", "must begin with http"),
        ("example.com/a.png", "must begin with http"),
        ("", "must begin with http"),
        ("http://user@example.com/", "user name"),
        ("http://user:pass@example.com/", "user name"),
        ("http://@example.com/", "user name"),
        ("http://example.com@127.0.0.1/", "user name"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http://exa\tmple.com/", "control"),
        ("http://example.com/\r\nX: y", "control"),
        (" http://example.com/", "space"),
        ("http:///path", "malformed"),
        ("http:example.com", "malformed"),
        ("http://example.com:0/", "malformed"),
        ("http://example.com:99999/", "malformed"),
        ("http://example.com:80a/", "malformed"),
        ("http://[::1", "malformed"),
        ("http://[fe80::1%25eth0]/", "malformed"),
        ("http://example.com/" + "a" * 5000, "longer than"),
        # Spellings of loopback that some clients connect to without a look-up.
        *((f"http://{host}/", "is a number") for host in ODD_LOOPBACKS),
    ],
)
def test_odd_urls_are_blocked_before_any_lookup(url: str, sentence: str) -> None:
    with pytest.raises(UrlBlocked, match=sentence) as caught:
        fetch(url, LOOPBACK, never)
    assert caught.value.code == ErrorCode.URL_BLOCKED
    assert not caught.value.transient


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:8080/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[2002:a00:1::]/",
        "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    ],
)
def test_literal_private_addresses_are_blocked_without_naming_them(url: str) -> None:
    with pytest.raises(UrlBlocked) as caught:
        fetch(url, AddressPolicy(), lambda host, port: [host.rstrip(".")])
    assert str(caught.value) == "The URL points to a private network."


def test_a_name_of_loopback_is_blocked() -> None:
    with pytest.raises(UrlBlocked, match="private network"):
        fetch("http://localhost/", AddressPolicy(), total_s=5)


@pytest.mark.parametrize("host", ["web1", "a.b2", "1.example", "0xcafe.example.com", "1.0xg"])
def test_a_name_with_digits_is_a_name(host: str) -> None:
    assert UrlGuard(AddressPolicy()).parse(f"http://{host}/").raw_host == host


def test_the_form_of_a_url_is_judged_without_a_policy() -> None:
    assert parse_url("http://10.0.0.1/a").raw_host == "10.0.0.1"
    with pytest.raises(ValueError, match="user name"):
        parse_url("http://user@example.com/")


@pytest.mark.parametrize("character", ["\x85", "\xa0", "\u200b", "\u2028", "\ud800"])
def test_a_url_with_an_invisible_character_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        parse_url(f"http://example.com/{character}")


async def test_one_private_address_among_public_ones_blocks_the_name() -> None:
    with pytest.raises(UrlBlocked):
        await resolved("example.com", AddressPolicy(), "8.8.8.8", "10.0.0.1")


async def test_the_addresses_of_a_public_name_are_given_in_order() -> None:
    public = ("2606:4700::1111", "1.1.1.1")
    assert await resolved("example.com", AddressPolicy(), *public) == [*public]


def test_a_quoted_path_and_query_stay_as_they_are() -> None:
    parsed = UrlGuard(AddressPolicy()).parse("https://example.com/a%2Fb?sig=%2B+x")
    assert parsed.raw_path_qs == "/a%2Fb?sig=%2B+x"


async def test_a_host_of_the_setting_may_be_anywhere() -> None:
    policy = AddressPolicy.parse("minio")
    host = UrlGuard(policy).parse("http://MINIO:9000/a").raw_host
    assert await resolved(host, policy, "10.0.0.1") == ["10.0.0.1"]
    with pytest.raises(UrlBlocked):
        await resolved("other", policy, "10.0.0.1")


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "secret resolver text")

    for resolve in (fail, lambda host, port: []):
        with pytest.raises(UrlUnreachable, match="does not resolve") as caught:
            fetch("http://example.com/", AddressPolicy(), resolve)
        assert "secret" not in str(caught.value)
        assert caught.value.transient


def test_a_resolver_that_hangs_is_given_up() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        release.wait(10)
        return ["8.8.8.8"]

    with pytest.raises(UrlUnreachable, match="in time"):
        fetch("http://example.com/", AddressPolicy(), hang, total_s=0.05)
    release.set()


def test_refusals_cross_process_borders() -> None:
    back = pickle.loads(pickle.dumps(UrlUnreachable("The URL answered 404.", transient=False)))
    assert (str(back), back.transient, back.code) == (
        "The URL answered 404.",
        False,
        ErrorCode.URL_UNREACHABLE,
    )


class Rebinding(AbstractResolver):
    """Answers the next of its addresses at every lookup."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list:
        address = self.addresses.pop(0)
        flags = socket.AI_NUMERICHOST
        return [
            dict(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=flags
            )
        ]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
async def server():
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=f"hello {request.host.partition(':')[0]}")

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    app = web.Application()
    app.add_routes([web.get("/", hello), web.get("/redirect", redirect)])
    async with TestServer(app, host="127.0.0.1") as server:
        yield server


async def test_a_session_reaches_allowed_addresses_under_the_host_s_name(server) -> None:
    url = f"http://photos.test:{server.port}/"
    async with (
        guarded_session(UrlGuard(LOOPBACK), inner=Rebinding("127.0.0.1")) as session,
        session.get(url) as answer,
    ):
        assert await answer.text() == "hello photos.test"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_a_session_refuses_private_addresses(server, host: str) -> None:
    async with guarded_session(UrlGuard(AddressPolicy())) as session:
        with pytest.raises(UrlBlocked, match="private network"):
            await session.get(f"http://{host}:{server.port}/")


async def test_a_session_refuses_numbers_that_stand_for_addresses(server) -> None:
    async with guarded_session(UrlGuard(AddressPolicy())) as session:
        for host in ("2130706433", "0x7f.1", "127.1"):
            with pytest.raises((UrlBlocked, aiohttp.ClientError)):
                await session.get(f"http://{host}:{server.port}/")


async def test_a_session_checks_redirects_too(server) -> None:
    async with guarded_session(UrlGuard(LOOPBACK)) as session:
        target = f"http://127.0.0.2:{server.port}/"
        with pytest.raises(UrlBlocked):
            await session.get(server.make_url("/redirect"), params={"to": target})


async def test_a_name_that_rebinds_is_refused_by_a_session(server) -> None:
    resolver = Rebinding("127.0.0.1", "127.0.0.2")
    url = f"http://photos.test:{server.port}/"
    async with guarded_session(UrlGuard(LOOPBACK), inner=resolver) as session:
        async with session.get(url, headers={"Connection": "close"}) as answer:
            assert answer.status == 200
        session.connector.clear_dns_cache()
        with pytest.raises(UrlBlocked):
            await session.get(url)
