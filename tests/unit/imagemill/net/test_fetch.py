"""Fetching: from real local servers, well and badly behaved."""

from __future__ import annotations

import gzip
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagemill.net.addresses import AddressPolicy
from imagemill.net.errors import UrlBlocked, UrlTooLarge, UrlUnreachable
from imagemill.net.fetch import FetchedFile, FetchLimits, UrlFetcher
from imagemill.net.guard import UrlGuard
from imagemill.net.resolver import Lookup, ThreadPerLookup
from schemas.errors import ErrorCode
from tests.support.servers import certificate

LIMITS = FetchLimits(max_bytes=1_000_000, total_s=5)
LOOPBACK = AddressPolicy.parse("127.0.0.1")
# A server is what it does with a connection, given the request's head.
Behaviour = Callable[[socket.socket, str], None]


@contextmanager
def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that treats every connection so."""
    listener = socket.create_server(("127.0.0.1", 0))

    def treat(connection: socket.socket) -> None:
        try:
            with tls.wrap_socket(connection, server_side=True) if tls else connection as sock:
                head = b""
                while b"\r\n\r\n" not in head and (part := sock.recv(4096)):
                    head += part
                behave(sock, head.decode("latin-1"))
        except OSError:
            return  # the client hung up, which is what several tests are about

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=treat, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def answer(body: bytes, status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def resetting(*parts: bytes) -> Behaviour:
    """A server that resets the connection after these bytes."""

    def behave(sock: socket.socket, head: str) -> None:
        for part in parts:
            sock.sendall(part)
        # Close with a reset, not with an orderly end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def sending(*parts: bytes, pause_s: float = 0) -> Behaviour:
    def behave(sock: socket.socket, head: str) -> None:
        for part in parts:
            sock.sendall(part)
            time.sleep(pause_s)

    return behave


def fetch(
    url: str,
    limits: FetchLimits = LIMITS,
    policy: AddressPolicy = LOOPBACK,
    lookup: Lookup | None = lambda host, port: ["127.0.0.1"],
    tls: ssl.SSLContext | None = None,
) -> FetchedFile:
    """Fetch one file as an inference process does; None looks names up as the system does."""
    fetcher = UrlFetcher(UrlGuard(policy), limits, tls=tls, resolver=ThreadPerLookup(lookup))
    try:
        return fetcher.fetch(url)
    finally:
        fetcher.close()


def fetched(behave: Behaviour, limits: FetchLimits = LIMITS) -> FetchedFile:
    with serving(behave) as port:
        return fetch(f"http://photos.test:{port}/cup.png", limits)


def body(file: FetchedFile) -> bytes:
    with file:
        return file.file.read()


def test_a_file_is_fetched_with_its_digest_and_type() -> None:
    heads: list[str] = []

    def behave(sock: socket.socket, head: str) -> None:
        heads.append(head)
        sock.sendall(answer(b"picture" * 1000, Content_Type="Image/PNG; charset=x"))

    with serving(behave) as port:
        file = fetch(f"http://photos.test:{port}/a%2Fb.png?sig=%2B+x#part")

    assert body(file) == b"picture" * 1000
    assert (file.bytes, file.content_type) == (7000, "image/png")
    assert file.sha256 == hashlib.sha256(b"picture" * 1000).hexdigest()
    assert heads[0].startswith("GET /a%2Fb.png?sig=%2B+x HTTP/1.1\r\n")
    assert f"\r\nHost: photos.test:{port}\r\n" in heads[0]
    assert "\r\nAccept-Encoding: identity\r\n" in heads[0]


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    file = fetched(sending(b"HTTP/1.0 200 OK\r\n\r\npart one, ", b"part two"))
    assert body(file) == b"part one, part two"


def test_a_chunked_body_is_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    file = fetched(sending(head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"))
    assert body(file) == b"abcde"


def test_redirects_are_followed_relative_ones_too() -> None:
    def behave(sock: socket.socket, head: str) -> None:
        if head.startswith("GET /cup.png"):
            sock.sendall(answer(b"", "302 Found", Location="/other/1"))
        elif head.startswith("GET /other/1"):
            sock.sendall(answer(b"", "307 Temporary Redirect", Location="2?x=%20"))
        else:
            sock.sendall(answer(head.partition(" HTTP")[0].encode()))

    assert body(fetched(behave)) == b"GET /other/2?x=%20"


def test_five_redirects_are_followed_and_no_sixth() -> None:
    def redirecting(times: int) -> Behaviour:
        def behave(sock: socket.socket, head: str) -> None:
            step = int(head.partition("?")[2].partition(" ")[0] or 0)
            more = answer(b"", "302 Found", Location=f"/?{step + 1}")
            sock.sendall(more if step < times else answer(b"end"))

        return behave

    assert body(fetched(redirecting(5))) == b"end"
    with pytest.raises(UrlUnreachable, match="more than 5 times") as caught:
        fetched(redirecting(6))
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("location", "error", "sentence"),
    [
        ("http://127.0.0.2/", UrlBlocked, "private network"),
        ("http://[::1]/", UrlBlocked, "private network"),
        ("file:///etc/passwd", UrlBlocked, "must begin with http"),
        ("http://user@photos.test/", UrlBlocked, "user name"),
        ("http://[bad/", UrlUnreachable, "malformed"),
        ("", UrlUnreachable, "nowhere"),
    ],
)
def test_a_redirect_is_checked_like_the_url(location: str, error: type, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        fetched(sending(answer(b"", "302 Found", Location=location)))


def test_a_private_address_is_never_connected_to() -> None:
    connected = threading.Event()

    with serving(lambda sock, head: connected.set()) as port:
        for url in (f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
            with pytest.raises(UrlBlocked):
                fetch(url, policy=AddressPolicy(), lookup=None)
    assert not connected.is_set()


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    answers = ["127.0.0.1", "127.0.0.2"]

    def behave(sock: socket.socket, head: str) -> None:
        sock.sendall(answer(b"", "302 Found", Location=f"http://again.test:{port}/"))

    # Were the name looked up again to connect, the first request would already be elsewhere.
    with serving(behave) as port, pytest.raises(UrlBlocked):
        fetch(f"http://photos.test:{port}/", lookup=lambda host, port: [answers.pop(0)])
    assert answers == []


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    policy = AddressPolicy.parse("127.0.0.0/8")
    both = ["127.0.0.9", "127.0.0.1"]
    with serving(sending(answer(b"here"))) as port:
        file = fetch(f"http://photos.test:{port}/", policy=policy, lookup=lambda host, port: both)
        assert body(file) == b"here"


def test_no_answering_address_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(UrlUnreachable, match="cannot be connected to") as caught:
            fetch(f"http://photos.test:{port}/")
    assert caught.value.transient
    assert "127." not in str(caught.value)


@pytest.mark.parametrize(
    "behave",
    [
        sending(answer(b"x" * 1_000_001)),
        sending(answer(b"", length=5_000_000_000)),
        sending(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1_000_001),
        sending(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            (b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n") * 20,
        ),
    ],
    ids=["length", "length only", "no length", "chunked"],
)
def test_a_file_over_the_limit_is_refused(behave: Behaviour) -> None:
    with pytest.raises(UrlTooLarge, match="more than 1,000,000 bytes") as caught:
        fetched(behave)
    assert caught.value.code == ErrorCode.IMAGE_TOO_LARGE


def test_a_file_of_just_the_limit_passes() -> None:
    assert len(body(fetched(sending(answer(b"x" * 1_000_000))))) == 1_000_000


@pytest.mark.parametrize(
    "behave",
    [
        sending(*[b"HTTP/1.1 200 OK\r\n"[i : i + 1] for i in range(17)], pause_s=0.1),
        sending(b"HTTP/1.1 200 OK\r\n", *[b"X-Pad: 1\r\n"] * 50, pause_s=0.1),
        sending(answer(b"", length=50), *[b"x"] * 50, pause_s=0.1),
        lambda sock, head: time.sleep(3),
    ],
    ids=["status drips", "headers drip", "body drips", "silence"],
)
def test_a_slow_server_is_given_up_at_the_total_limit(behave: Behaviour) -> None:
    started = time.monotonic()
    with pytest.raises(UrlUnreachable) as caught:
        fetched(behave, FetchLimits(max_bytes=1000, total_s=0.4))
    assert time.monotonic() - started < 2
    assert caught.value.transient


@pytest.mark.parametrize(
    "behave",
    [
        sending(answer(b"half", length=8)),
        sending(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"9\r\nabc"),
        resetting(answer(b"half", length=8)),
        resetting(),
        sending(b"SSH-2.0-OpenSSH_9.0\r\n"),
        sending(b""),
        sending(b"HTTP/1.1 200 OK\r\n" + b"X-Pad: 1\r\n" * 200 + b"\r\n"),
    ],
    ids=[
        "half",
        "half chunk",
        "reset half way",
        "reset at once",
        "no http",
        "nothing",
        "too many headers",
    ],
)
def test_a_broken_answer_is_unreachable(behave: Behaviour) -> None:
    with pytest.raises(UrlUnreachable, match="broke off"):
        fetched(behave)


@pytest.mark.parametrize(
    ("status", "transient"),
    [("404 Not Found", False), ("403 Forbidden", False), ("429 Slow", True), ("503 Away", True)],
)
def test_an_error_status_is_told(status: str, transient: bool) -> None:
    with pytest.raises(UrlUnreachable, match=f"status {status[:3]}") as caught:
        fetched(sending(answer(b"page", status)))
    assert caught.value.transient is transient


def test_a_compressed_answer_is_refused() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    with pytest.raises(UrlUnreachable, match="compressed"):
        fetched(sending(answer(bomb, Content_Encoding="gzip")))


def test_over_tls_the_certificate_must_be_the_named_host_s(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "photos.test")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(cert, key)
    names: list[str] = []
    server_tls.sni_callback = lambda sock, name, context: names.append(name)
    trusting = ssl.create_default_context(cafile=str(cert))

    with serving(sending(answer(b"secret")), server_tls) as port:
        file = fetch(f"https://photos.test:{port}/", tls=trusting)
        assert body(file) == b"secret"
        for url, tls in (
            (f"https://other.test:{port}/", trusting),
            (f"https://photos.test:{port}/", None),
        ):
            with pytest.raises(UrlUnreachable, match="certificate") as caught:
                fetch(url, tls=tls)
            assert not caught.value.transient
    assert names == ["photos.test", "other.test", "photos.test"]


def test_a_tls_handshake_that_stalls_is_given_up() -> None:
    with serving(lambda sock, head: time.sleep(3)) as port:
        started = time.monotonic()
        with pytest.raises(UrlUnreachable, match="in time"):
            fetch(f"https://photos.test:{port}/", FetchLimits(1000, total_s=0.3))
        assert time.monotonic() - started < 2


def test_a_name_lookup_that_hangs_ends_at_the_total_limit_and_holds_up_no_other() -> None:
    release = threading.Event()

    def lookup(host: str, port: int) -> list[str]:
        if host.startswith("hung"):
            release.wait(10)
        return ["127.0.0.1"]

    fetcher = UrlFetcher(
        UrlGuard(LOOPBACK), FetchLimits(1000, total_s=1), resolver=ThreadPerLookup(lookup)
    )
    # More than the threads of an event loop's executor: the others need a thread too.
    hung = [
        threading.Thread(target=lambda n=n: refused(fetcher, f"http://hung{n}.test/"))
        for n in range(40)
    ]
    for thread in hung:
        thread.start()
    with serving(sending(answer(b"here"))) as port:
        assert body(fetcher.fetch(f"http://photos.test:{port}/")) == b"here"
    started = time.monotonic()
    for thread in hung:
        thread.join(5)
    assert time.monotonic() - started < 3
    assert not any(thread.is_alive() for thread in hung)
    release.set()
    fetcher.close()


def refused(fetcher: UrlFetcher, url: str) -> None:
    with pytest.raises(UrlUnreachable, match="in time"):
        fetcher.fetch(url)


def test_a_connection_is_used_again_by_the_next_fetch() -> None:
    connections: list[socket.socket] = []

    def behave(sock: socket.socket, head: str) -> None:
        connections.append(sock)
        while head:
            sock.sendall(answer(head.encode()))
            head = sock.recv(4096).decode()

    fetcher = UrlFetcher(UrlGuard(LOOPBACK), LIMITS)
    with serving(behave) as port:
        for name in ("one", "two"):
            file = body(fetcher.fetch(f"http://127.0.0.1:{port}/{name}"))
            assert file.startswith(f"GET /{name} ".encode())
        fetcher.close()
    assert len(connections) == 1


def test_a_cookie_of_one_fetch_is_not_sent_with_the_next() -> None:
    heads: list[str] = []

    def behave(sock: socket.socket, head: str) -> None:
        heads.append(head)
        sock.sendall(answer(b"x", Set_Cookie="user=1", Connection="close"))

    fetcher = UrlFetcher(UrlGuard(LOOPBACK), LIMITS)
    with serving(behave) as port:
        for _ in range(2):
            body(fetcher.fetch(f"http://127.0.0.1:{port}/"))
    fetcher.close()
    assert [head.lower().count("cookie") for head in heads] == [0, 0]


def test_a_name_that_cannot_be_one_does_not_resolve() -> None:
    with pytest.raises(UrlUnreachable, match="does not resolve"):
        fetch(f"http://{'a' * 64}.test/", lookup=None)
