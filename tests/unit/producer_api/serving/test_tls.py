"""TLS of the API's port, spoken by real clients, with certificates that change on disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.server import TlsSettings
from producer_api.serving.tls import ServerTls
from tests.support.certificates import Authority
from tests.support.waiting import wait_until

Serve = Callable[..., AbstractAsyncContextManager[int]]


@pytest.fixture
def authority() -> Authority:
    return Authority("a CA")


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> Callable[..., TlsSettings]:
    """Make settings of a certificate for localhost; further fields may be given."""
    certificate, key = authority.issue(tmp_path, "server", "localhost")

    def make(**fields: object) -> TlsSettings:
        values = {"tls_certificate": certificate, "tls_key": key} | fields
        return TlsSettings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]

    return make


@pytest.fixture
def serve() -> Serve:
    """Serve `hello` over TLS, with the files read as they change; provide the port."""

    @asynccontextmanager
    async def serving(tls: ServerTls) -> AsyncIterator[int]:
        async def hello(_: web.Request) -> web.Response:
            return web.Response(text="hello")

        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
        following = asyncio.create_task(tls.follow())
        yield runner.addresses[0][1]
        following.cancel()
        await runner.cleanup()

    return serving


async def _said(port: int, context: ssl.SSLContext) -> str:
    """Ask over a connection of its own."""
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://localhost:{port}/") as answer,
    ):
        return await answer.text()


def _serial(port: int, context: ssl.SSLContext) -> int:
    """Return the serial number of the certificate that the server shows now."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        return int(connection.getpeercert()["serialNumber"], 16)


async def _until_shown(port: int, context: ssl.SSLContext, serial: int) -> None:
    def shown() -> int:
        return _serial(port, context)

    await asyncio.to_thread(wait_until, shown, lambda number: number == serial)


async def test_a_client_that_trusts_the_authority_is_answered(settings, authority, serve):
    async with serve(ServerTls(settings())) as port:
        assert await _said(port, authority.client()) == "hello"


async def test_one_file_may_hold_certificate_and_key(settings, authority, serve, tmp_path):
    both = tmp_path / "both.pem"
    first = settings()
    both.write_bytes(first.tls_certificate.read_bytes() + first.tls_key.read_bytes())
    async with serve(ServerTls(settings(tls_certificate=both, tls_key=None))) as port:
        assert await _said(port, authority.client()) == "hello"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_an_older_tls_than_1_2_is_refused(settings, authority, serve):
    client = authority.client()
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serve(ServerTls(settings())) as port:
        with pytest.raises(aiohttp.ClientConnectorError):
            await _said(port, client)


async def test_a_new_certificate_serves_new_connections_and_drops_none(
    settings, authority, serve, tmp_path
):
    serial = authority.last_serial
    async with serve(ServerTls(settings())) as port:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=authority.client())

        async def ask() -> bytes:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(len("hello"))

        assert await ask() == b"hello"
        authority.issue(tmp_path, "server", "localhost")
        await _until_shown(port, authority.client(), authority.last_serial)
        assert await ask() == b"hello"
        shown = writer.get_extra_info("peercert")["serialNumber"]
        assert int(shown, 16) == serial != authority.last_serial
        writer.close()


async def test_a_link_that_is_replaced_counts_as_a_change(authority, serve, tmp_path, settings):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        authority.issue(folder, "server", "localhost")
    # As Kubernetes does it: the files stay, the folder that the link names is another.
    link = tmp_path / "current"
    link.symlink_to(first)
    chosen = settings(tls_certificate=link / "server.pem", tls_key=link / "server.key")
    async with serve(ServerTls(chosen)) as port:
        other = tmp_path / "other"
        other.symlink_to(second)
        other.replace(link)
        await _until_shown(port, authority.client(), authority.last_serial)


async def test_unusable_files_at_a_change_keep_the_old_certificate(
    settings, authority, serve, tmp_path, caplog
):
    chosen = settings()
    serial = authority.last_serial
    tls = ServerTls(chosen)
    async with serve(tls) as port:
        chosen.tls_certificate.write_text("nothing of use")
        tls.refresh()
        assert "the former ones stay in use" in caplog.text
        assert "IMAGEMILL_TLS_CERTIFICATE" in caplog.text
        assert await asyncio.to_thread(_serial, port, authority.client()) == serial
        caplog.clear()
        tls.refresh()
        assert caplog.text == ""
        authority.issue(tmp_path, "server", "localhost")
        await _until_shown(port, authority.client(), authority.last_serial)


async def test_a_certificate_that_comes_before_its_key_waits_for_it(
    settings, authority, serve, tmp_path
):
    chosen = settings()
    serial = authority.last_serial
    new = tmp_path / "new"
    new.mkdir()
    certificate, key = authority.issue(new, "server", "localhost")
    tls = ServerTls(chosen)
    async with serve(tls) as port:
        shutil.copy(certificate, chosen.tls_certificate)
        tls.refresh()
        assert await asyncio.to_thread(_serial, port, authority.client()) == serial
        os.replace(key, chosen.tls_key)
        await _until_shown(port, authority.client(), authority.last_serial)


async def test_a_client_needs_a_certificate_where_a_client_ca_is_set(
    settings, authority, serve, tmp_path
):
    clients = Authority("a CA of clients")
    shown = clients.issue(tmp_path, "client", "somebody")
    foreign = authority.issue(tmp_path, "foreign", "nobody")
    ca = clients.write(tmp_path / "clients.pem")
    async with serve(ServerTls(settings(tls_client_ca=ca))) as port:
        assert await _said(port, authority.client(*shown)) == "hello"
        for refused in (authority.client(), authority.client(*foreign)):
            with pytest.raises(aiohttp.ClientError):
                await _said(port, refused)


async def test_a_client_ca_that_is_replaced_refuses_the_clients_of_the_former(
    settings, authority, serve, tmp_path
):
    former, new = Authority("a former CA"), Authority("a new CA")
    old_client = authority.client(*former.issue(tmp_path, "old", "somebody"))
    new_client = authority.client(*new.issue(tmp_path, "new", "somebody"))
    ca = former.write(tmp_path / "clients.pem")
    tls = ServerTls(settings(tls_client_ca=ca))
    async with serve(tls) as port:
        assert await _said(port, old_client) == "hello"
        new.write(ca)
        tls.refresh()
        assert await _said(port, new_client) == "hello"
        # The same context, which would resume its session if the server had given it a ticket.
        with pytest.raises(aiohttp.ClientError):
            await _said(port, old_client)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda s: s.tls_certificate.unlink(), "TLS_CERTIFICATE: .*cannot be read: No such file"),
        (lambda s: s.tls_certificate.write_text("x"), "TLS_CERTIFICATE: .* no certificate"),
        (lambda s: s.tls_key.write_text("x"), "TLS_KEY: .* holds no private key"),
        (lambda s: s.tls_key.unlink(), "TLS_KEY: .*cannot be read: No such file"),
        (
            lambda s: Authority("x").issue(s.tls_key.parent / "..", "k", "h")[1].replace(s.tls_key),
            "TLS_KEY: .* is not that of the first certificate",
        ),
    ],
    ids=["no certificate", "junk for a certificate", "junk for a key", "no key", "another key"],
)
def test_a_file_that_cannot_be_used_at_the_start_is_named(settings, break_it, sentence):
    chosen = settings()
    break_it(chosen)
    with pytest.raises(SettingsInvalid, match=f"IMAGEMILL_{sentence}"):
        ServerTls(chosen)


def test_an_encrypted_key_needs_its_password(authority, tmp_path, settings):
    certificate, key = authority.issue(tmp_path, "locked", "localhost", password="open sesame")
    files = {"tls_certificate": certificate, "tls_key": key}
    ServerTls(settings(**files, tls_key_password="open sesame"))
    with pytest.raises(SettingsInvalid, match="is encrypted: set IMAGEMILL_TLS_KEY_PASSWORD"):
        ServerTls(settings(**files))
    with pytest.raises(SettingsInvalid, match="is not its password"):
        ServerTls(settings(**files, tls_key_password="open barley"))


def test_the_end_of_the_certificate_is_a_metric(settings):
    registry = CollectorRegistry()
    registry.register(ServerTls(settings()))
    assert b"imagemill_tls_certificate_expires_seconds 1." in generate_latest(registry)


def test_a_key_without_a_certificate_is_refused(tmp_path):
    with pytest.raises(SettingsInvalid, match="IMAGEMILL_TLS_CERTIFICATE: must be set"):
        TlsSettings(_env_file=None, tls_key=tmp_path / "key.pem")  # type: ignore[call-arg]
