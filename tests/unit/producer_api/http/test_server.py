"""Requests that the HTTP layer itself refuses, sent byte by byte: every answer is a problem."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import web

from producer_api.http.body import read_body
from producer_api.http.problems import problems_middleware
from producer_api.http.routing import Route, add_routes
from producer_api.http.server import Runner

LIMIT = 100_000


@dataclass
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict:
        assert self.headers["content-type"] == "application/problem+json"
        document = json.loads(self.body)
        assert document["status"] == self.status
        # Nothing of Python shows: no bytes, no class, no package.
        assert not [word for word in ("b'", "0x", "install", "Error") if word in document["detail"]]
        return document


class Wire:
    """A server, and connections to it."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def send(self, raw: bytes) -> Answer:
        """The answer to these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        writer.close()
        return Answer(int(head[0].split()[1]), fields, body)

    async def post(self, body: bytes, *fields: str) -> Answer:
        lines = ["POST / HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *fields]
        return await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def leave(self, raw: bytes) -> None:
        """Send these bytes and go away."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(raw)
        await writer.drain()
        writer.transport.abort()


async def take(request: web.Request) -> web.Response:
    body = await read_body(request, LIMIT)
    return web.json_response({"size": len(body), "crc": zlib.crc32(body)})


async def fail(_: web.Request) -> web.Response:
    raise KeyError("a defect")


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    app = web.Application(
        middlewares=[problems_middleware], handler_args={"auto_decompress": False}
    )
    add_routes(app, [Route("POST", "/", take, "", ""), Route("GET", "/fail", fail, "", "")])
    runner = Runner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Wire(runner.addresses[0][1])
    await runner.cleanup()


HOST = b"\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"G@T /" + HOST + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1" + HOST + b"\r\n",
        b"POST / HTTP/1.1" + HOST + b"Content-Length: x\r\n\r\n",
        b"POST / HTTP/1.1" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1" + HOST + b"Transfer-Encoding: gzip\r\n\r\nabc",
        b"POST / HTTP/1.1" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/3.7" + HOST + b"\r\n",
        b"GET / HTTP/1.1" + HOST + b"A b: c\r\n\r\n",
        b"GET /\x00 HTTP/1.1" + HOST + b"\r\n",
        b"GET http://[ HTTP/1.1" + HOST + b"\r\n",
    ],
    ids=lambda raw: raw[:24].decode("latin-1").strip(),
)
async def test_what_is_no_http_is_answered_with_a_problem(
    wire: Wire, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    problem = (await wire.send(raw)).problem()
    assert (problem["status"], problem["code"]) == (400, "request_invalid")
    assert problem["detail"].startswith("The request is not valid HTTP: ")
    assert "\n" not in problem["detail"]
    assert [record for record in caplog.records if record.exc_info] == []
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GET /nothing HTTP/1.1" + HOST + b"\r\n", 404, "not_found"),
        (b"GET /%zz%ff HTTP/1.1" + HOST + b"\r\n", 404, "not_found"),
        (b"PATCH / HTTP/1.1" + HOST + b"\r\n", 405, "method_not_allowed"),
        (b"CONNECT a:1 HTTP/1.1" + HOST + b"\r\n", 404, "not_found"),
        (
            b"POST / HTTP/1.1" + HOST + b"Expect: a-cake\r\nContent-Length: 1\r\n\r\na",
            417, "expectation_failed",
        ),
    ],
)  # fmt: skip
async def test_what_has_no_handler_is_answered_with_a_problem(
    wire: Wire, raw: bytes, status: int, code: str
) -> None:
    problem = (await wire.send(raw)).problem()
    assert (problem["status"], problem["code"]) == (status, code)


async def test_the_allowed_methods_are_named(wire: Wire) -> None:
    answer = await wire.send(b"PATCH / HTTP/1.1" + HOST + b"\r\n")
    assert answer.headers["allow"] == "post"


async def test_a_body_may_be_asked_for(wire: Wire) -> None:
    asked = await wire.post(b"", "Expect: 100-continue")
    assert asked.status == 100


async def test_a_defect_is_a_problem_and_in_the_log(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    problem = (await wire.send(b"GET /fail HTTP/1.1" + HOST + b"\r\n")).problem()
    assert (problem["status"], problem["code"]) == (500, "internal")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]


async def test_a_client_that_goes_away_leaves_nothing_in_the_log(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    await wire.leave(b"POST / HTTP/1.1" + HOST + b"Content-Length: 10\r\n\r\nabc")
    # Answered after the connection above has ended.
    assert (await wire.post(b"abc")).status == 200
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


PICTURE = bytes(range(256)) * 40
RAW_DEFLATE = zlib.compressobj(wbits=-15)
BODIES = {
    "identity": PICTURE,
    "gzip": gzip.compress(PICTURE),
    "x-gzip": gzip.compress(PICTURE),
    "GZIP": gzip.compress(PICTURE),
    "deflate": zlib.compress(PICTURE),
    " identity , gzip ": gzip.compress(PICTURE),
    "": PICTURE,
}


@pytest.mark.parametrize("coding", BODIES)
async def test_a_coded_body_is_decoded(wire: Wire, coding: str) -> None:
    answer = await wire.post(BODIES[coding], f"Content-Encoding: {coding}")
    assert answer.status == 200
    assert json.loads(answer.body) == {"size": len(PICTURE), "crc": zlib.crc32(PICTURE)}


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(PICTURE[:100]) + gzip.compress(PICTURE[100:])),
        ("deflate", RAW_DEFLATE.compress(PICTURE) + RAW_DEFLATE.flush()),
    ],
    ids=["two members", "without the zlib header"],
)
async def test_a_coding_as_some_clients_send_it(wire: Wire, coding: str, body: bytes) -> None:
    answer = await wire.post(body, f"Content-Encoding: {coding}")
    assert json.loads(answer.body)["crc"] == zlib.crc32(PICTURE)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "foo", "gzip, gzip", "gzip, br", "*"])
async def test_a_coding_that_is_not_spoken_is_a_415(
    wire: Wire, coding: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await wire.post(b"abc", f"Content-Encoding: {coding}")
    assert (answer.status, answer.problem()["code"]) == (415, "content_encoding_unsupported")
    assert answer.headers["accept-encoding"] == "gzip, deflate, identity"
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"abc"),
        ("gzip", gzip.compress(PICTURE)[:-9]),
        ("gzip", gzip.compress(PICTURE)[:5]),
        ("gzip", gzip.compress(PICTURE) + b"more"),
        ("deflate", b"abc"),
        ("deflate", zlib.compress(PICTURE)[:-2]),
    ],
    ids=["not gzip", "cut in its end", "cut in its head", "more behind", "not zlib", "cut zlib"],
)
async def test_a_body_that_is_not_in_its_coding_is_a_400(
    wire: Wire, coding: str, body: bytes
) -> None:
    answer = await wire.post(body, f"Content-Encoding: {coding}")
    assert (answer.status, answer.problem()["code"]) == (400, "body_invalid")


async def test_a_small_body_that_stands_for_a_large_one_is_a_413(wire: Wire) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < LIMIT
    answer = await wire.post(bomb, "Content-Encoding: gzip")
    assert (answer.status, answer.problem()["code"]) == (413, "body_too_large")


async def test_a_chunked_body_that_is_cut_short_is_a_400(wire: Wire) -> None:
    head = b"POST / HTTP/1.1" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await wire.send(head + b"3\r\nabcdef\r\n0\r\n\r\n")
    assert answer.problem()["status"] == 400
