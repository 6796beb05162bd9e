"""Requests that change something or are refused are recorded, without what they carry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from imagemill.settings import ApiSettings
from producer_api.access.guard import GUARD, Guard, access_middleware
from producer_api.access.keys.ring import KeyRing
from producer_api.audit.audit_log import AuditLog
from producer_api.audit.middleware import AUDITOR, Auditor, audit_middleware
from producer_api.http.problems import Problem, problems_middleware
from producer_api.http.routing import Route, add_routes
from schemas.access import AccessKey, Scope
from tests.support.keys import made_key, ring_of

Serve = Callable[..., Awaitable["Server"]]


class Topic:
    """The records that were written."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    async def send(self, topic, key, value, headers=None) -> None:
        self.values.append(value)


class NoUses:
    """Notes no use of keys."""

    def note(self, key_id: str) -> None:
        """Note nothing."""


async def submit(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=202, headers={"Location": "/v1/jobs/j-1"})


async def read(_: web.Request) -> web.Response:
    return web.json_response({})


async def result(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "https://s3/x?X-Amz-Signature=secret"})


async def invalid(_: web.Request) -> web.Response:
    raise Problem(422, "params_invalid", "wrong")


ROUTES = (
    Route("POST", "/v1/jobs", submit, "Submit", "jobs"),
    Route("GET", "/v1/jobs/{job_id}", read, "Read", "jobs"),
    Route("GET", "/v1/jobs/{job_id}/items/{index}/result", result, "Result", "jobs"),
    Route("POST", "/v1/uploads", invalid, "Upload", "uploads"),
    Route("POST", "/v1/templates", read, "Template", "templates"),
)


@pytest.fixture
def topic() -> Topic:
    return Topic()


class Server:
    """A server of the routes above, and the log of its records."""

    def __init__(self, settings: ApiSettings, ring: KeyRing, topic: Topic) -> None:
        app = web.Application(
            middlewares=[audit_middleware, problems_middleware, access_middleware]
        )
        app[GUARD] = Guard(settings, ring, ROUTES, NoUses())
        self.log = AuditLog(topic, "audit")
        app[AUDITOR] = Auditor(settings, app[GUARD], self.log)
        add_routes(app, ROUTES)
        self.client = TestClient(TestServer(app))
        self.topic = topic

    async def records(self) -> list[dict[str, Any]]:
        """Stop, and return all records on the topic."""
        await self.client.close()
        await self.log.close()
        return [json.loads(value) for value in self.topic.values]


@pytest.fixture
async def serve(tmp_path: Path, topic: Topic) -> AsyncIterator[Serve]:
    """Start a server with these keys and settings."""
    started: list[Server] = []

    async def start(*keys: AccessKey, **fields: Any) -> Server:
        settings = ApiSettings(_env_file=None, home=tmp_path, **fields)  # type: ignore[call-arg]
        started.append(Server(settings, ring_of(*keys), topic))
        started[-1].log.start()
        await started[-1].client.start_server()
        return started[-1]

    yield start
    for server in started:
        await server.records()


async def test_a_change_says_who_what_and_from_where(serve, topic) -> None:
    key, secret = made_key(name="robot", owner="acme")
    server = await serve(key)
    body = json.dumps({"operation": "noop", "metadata": {"patient": "private"}})
    headers = {
        "Authorization": f"Bearer {secret}",
        "User-Agent": "curl/8\x1b".replace("\x1b", "~"),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    answer = await server.client.post("/v1/jobs?wait=5", data=body, headers=headers)
    assert answer.status == 202
    (record,) = await server.records()
    assert record.pop("audit_id") and record.pop("at")
    assert record == {
        "kind": "request", "action": "post_v1_jobs", "outcome": "succeeded", "status": 202,
        "actor": "robot", "key_id": key.key_id, "owner": "acme", "address": "127.0.0.1",
        "user_agent": "curl/8~", "method": "POST", "path": "/v1/jobs", "target": "/v1/jobs/j-1",
        "traceparent": headers["traceparent"],
    }  # fmt: skip


async def test_neither_body_query_nor_secret_is_recorded(serve, topic) -> None:
    key, secret = made_key()
    server = await serve(key, access_query=True)
    for query in (secret, f"{secret}x"):
        await server.client.post(f"/v1/jobs?key={query}&note=private", data="a private body")
    records = await server.records()
    assert [record["status"] for record in records] == [202, 401]
    for value in topic.values:
        assert b"private" not in value and secret[:30].encode() not in value


async def test_refused_requests_are_recorded_with_whom_is_known(serve, topic) -> None:
    key, secret = made_key(name="reader", scopes=(Scope.JOBS_READ,))
    server = await serve(key)
    await server.client.get("/v1/jobs/j-1")
    await server.client.get("/v1/jobs/j-1/items/0/result", headers={"X-API-Key": secret})
    unknown, forbidden = await server.records()
    assert (unknown["outcome"], unknown["status"]) == ("refused", 401)
    assert unknown["path"] == "/v1/jobs/j-1" and "key_id" not in unknown
    assert (forbidden["outcome"], forbidden["status"]) == ("refused", 403)
    assert (forbidden["actor"], forbidden["key_id"]) == ("reader", key.key_id)


async def test_reads_are_not_recorded_but_those_of_files_by_setting(serve, topic) -> None:
    key, secret = made_key(scopes=tuple(Scope))
    headers = {"X-API-Key": secret}
    for reads in (False, True):
        server = await serve(key, audit_reads=reads)
        await server.client.get("/v1/jobs/j-1", headers=headers)
        await server.client.get(
            "/v1/jobs/j-1/items/0/result", headers=headers, allow_redirects=False
        )
        records = await server.records()
    (record,) = records
    assert record["action"] == "get_v1_jobs_by_job_id_items_by_index_result"
    # The redirect leads to a presigned URL, which is a secret.
    assert "target" not in record and b"Signature" not in topic.values[0]


async def test_a_request_that_failed_is_recorded_as_such(serve, topic) -> None:
    server = await serve(audit=True)
    await server.client.post("/v1/uploads")
    await server.client.post("/v1/nothing")
    failed, unmatched = await server.records()
    assert (failed["outcome"], failed["status"]) == ("failed", 422)
    assert (unmatched["action"], unmatched["status"]) == ("", 404)


async def test_without_keys_nothing_is_recorded_unless_a_setting_says_so(serve, topic) -> None:
    server = await serve()
    await server.client.post("/v1/jobs")
    assert await server.records() == []
    server = await serve(audit=True)
    await server.client.post("/v1/jobs")
    (record,) = await server.records()
    assert record["actor"] == "anonymous" and "owner" not in record
    key, secret = made_key()
    server = await serve(key, audit=False)
    await server.client.post("/v1/jobs", headers={"X-API-Key": secret})
    assert len(await server.records()) == 1


async def test_long_texts_of_a_client_are_clipped(serve, topic) -> None:
    server = await serve(audit=True)
    await server.client.post("/v1/" + "a" * 3000, headers={"User-Agent": "b" * 3000})
    (record,) = await server.records()
    assert (len(record["path"]), len(record["user_agent"])) == (1024, 256)
