"""Requests with and without keys: who is let in, as whom, and what the others are answered."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from imagemill.settings import ApiSettings
from producer_api.access.caller import Caller, caller_of
from producer_api.access.guard import GUARD, Guard, NoKeys, TokenVerifier, access_middleware
from producer_api.access.keys.ring import KeyRing
from producer_api.access.problems import Unauthenticated
from producer_api.http.cors import allow_origins, parse_origins
from producer_api.http.problems import problems_middleware
from producer_api.http.routing import Route, add_routes
from schemas.access import Scope
from tests.support.keys import key_message, made_key, revocation, ring_of

Client = Callable[..., TestClient]


async def who(request: web.Request) -> web.Response:
    caller = caller_of(request)
    return web.json_response({"name": caller.name, "owner": caller.owner, "sees": caller.sees("x")})


ROUTES = (
    Route("POST", "/v1/jobs", who, "Submit", "jobs"),
    Route("GET", "/v1/jobs/{job_id}", who, "Read", "jobs"),
    Route("GET", "/files/{key:.+}", who, "A file", "files"),
    Route("GET", "/healthz", who, "Liveness", "health"),
)


class Uses:
    """The key ids whose use was noted."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def note(self, key_id: str) -> None:
        self.noted.append(key_id)


def guard_of(
    tmp_path: Path, ring: KeyRing, verifier: TokenVerifier | None = None, **fields: Any
) -> tuple[Guard, Uses]:
    defaults: dict[str, Any] = {"catch_up_timeout_s": 0.05, "delivery_timeout_s": 0.05}
    settings = ApiSettings(_env_file=None, home=tmp_path, **(defaults | fields))  # type: ignore[call-arg]
    uses = Uses()
    return Guard(settings, ring, ROUTES, uses, verifier), uses


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Serve the routes above behind a guard with this ring and these settings."""
    clients = []

    async def start(ring: KeyRing, **fields: Any) -> tuple[TestClient, Uses]:
        app = web.Application(middlewares=[problems_middleware, access_middleware])
        app[GUARD], uses = guard_of(tmp_path, ring, **fields)
        add_routes(app, ROUTES)
        allow_origins(app, parse_origins("https://example.org"))
        clients.append(TestClient(TestServer(app)))
        await clients[-1].start_server()
        return clients[-1], uses

    yield start
    for client in clients:
        await client.close()


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def test_without_keys_on_loopback_everybody_is_anyone(serve: Client) -> None:
    client, _ = await serve(ring_of())
    answer = await client.post("/v1/jobs", headers=bearer("im_whatever"))

    assert answer.status == 200
    assert await answer.json() == {"name": "anonymous", "owner": None, "sees": True}


async def test_with_a_key_on_loopback_too_a_key_is_needed(serve: Client) -> None:
    key, secret = made_key(name="shop", owner="acme")
    client, uses = await serve(ring_of(key))
    refused = await client.post("/v1/jobs")
    let_in = await client.post("/v1/jobs", headers=bearer(secret))

    assert refused.status == 401
    assert refused.content_type == "application/problem+json"
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="imagemill"'
    problem = await refused.json()
    assert problem["code"] == "unauthenticated"
    assert "Authorization: Bearer im_" in problem["detail"]
    assert await let_in.json() == {"name": "shop", "owner": "acme", "sees": False}
    assert uses.noted == [key.key_id]


async def test_a_wrong_key_is_a_401_that_says_why(serve: Client) -> None:
    key, secret = made_key()
    ring = ring_of(key)
    client, uses = await serve(ring)
    ring.apply([revocation(key)], loaded=True)
    answer = await client.get("/v1/jobs/1", headers=bearer(secret))

    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert (await answer.json())["detail"] == "The API key was revoked; use another one."
    assert uses.noted == []


async def test_a_key_without_the_scope_is_a_403(serve: Client) -> None:
    key, secret = made_key(scopes=(Scope.JOBS_READ,))
    client, _ = await serve(ring_of(key))
    read = await client.get("/v1/jobs/1", headers=bearer(secret))
    head = await client.head("/v1/jobs/1", headers=bearer(secret))
    submitted = await client.post("/v1/jobs", headers=bearer(secret))

    assert (read.status, head.status, submitted.status) == (200, 200, 403)
    assert submitted.content_type == "application/problem+json"
    assert (await submitted.json())["scopes"] == ["jobs:write"]


@pytest.mark.parametrize("path", ["/healthz", "/files/results/1/0.png"])
async def test_public_operations_need_no_key_and_give_no_rights(serve: Client, path: str) -> None:
    client, _ = await serve(ring_of(made_key()[0]))
    answer = await client.get(path)

    assert answer.status == 200
    assert await answer.json() == {"name": "nobody", "owner": "", "sees": False}


async def test_a_path_without_a_route_is_a_404_for_everybody(serve: Client) -> None:
    client, _ = await serve(ring_of(made_key()[0]))

    assert (await client.get("/nothing")).status == 404
    assert (await client.delete("/v1/jobs")).status == 405


async def test_a_browser_asks_before_it_sends_the_key(serve: Client) -> None:
    client, _ = await serve(ring_of(made_key()[0]))
    origin = {"Origin": "https://example.org"}
    asked = {"Access-Control-Request-Method": "POST"}
    preflight = await client.options("/v1/jobs", headers=origin | asked)
    refused = await client.post("/v1/jobs", headers=origin)

    assert preflight.status == 204
    assert refused.headers["Access-Control-Allow-Origin"] == "https://example.org"


async def test_basic_and_query_are_taken_where_a_setting_allows_them(serve: Client) -> None:
    key, secret = made_key()
    header = {"Authorization": "Basic " + base64.b64encode(f"x:{secret}".encode()).decode()}
    strict, _ = await serve(ring_of(key))
    lenient, _ = await serve(ring_of(key), access_basic=True, access_query=True)

    assert (await strict.get("/v1/jobs/1", headers=header)).status == 401
    assert (await strict.get(f"/v1/jobs/1?key={secret}")).status == 401
    assert (await lenient.get("/v1/jobs/1", headers=header)).status == 200
    assert (await lenient.get(f"/v1/jobs/1?key={secret}")).status == 200
    offered = (await lenient.get("/v1/jobs/1")).headers["WWW-Authenticate"]
    assert offered == 'Bearer realm="imagemill", Basic realm="imagemill"'


async def test_while_the_keys_are_not_read_requests_are_answered_503(serve: Client) -> None:
    client, _ = await serve(KeyRing())
    answer = await client.get("/v1/jobs/1")

    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert (await client.get("/healthz")).status == 200


class Issuer:
    """A verifier of two kinds of tokens."""

    async def verify(self, token: str) -> Caller:
        if token != "good":
            raise Unauthenticated("The token is not signed by its issuer.")
        return Caller(owner="sub-1", name="Ann", scopes=frozenset({Scope.JOBS_READ}), own_only=True)


async def test_tokens_that_are_no_keys_go_to_the_verifier(serve: Client) -> None:
    key, secret = made_key(name="shop")
    client, uses = await serve(ring_of(key), verifier=Issuer())
    names = [
        (await (await client.get("/v1/jobs/1", headers=bearer(text))).json())["name"]
        for text in ("good", secret)
    ]
    bad = await client.get("/v1/jobs/1", headers=bearer("bad"))
    unscoped = await client.post("/v1/jobs", headers=bearer("good"))

    assert names == ["Ann", "shop"]
    assert (bad.status, unscoped.status) == (401, 403)
    assert (await bad.json())["detail"] == "The token is not signed by its issuer."
    assert uses.noted == [key.key_id]


async def test_with_a_verifier_and_no_key_a_token_is_needed(serve: Client) -> None:
    client, _ = await serve(ring_of(), verifier=Issuer())

    assert (await client.get("/v1/jobs/1")).status == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.5", "example.org"])
async def test_an_api_that_the_network_reaches_does_not_start_without_a_key(
    tmp_path: Path, host: str
) -> None:
    guard, _ = guard_of(tmp_path, ring_of(), host=host)

    with pytest.raises(NoKeys, match=r"imagemill keys create.*IMAGEMILL_OPEN=yes"):
        await guard.check_start()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
async def test_on_loopback_it_starts_without_one(tmp_path: Path, host: str) -> None:
    guard, _ = guard_of(tmp_path, ring_of(), host=host)
    await guard.check_start()

    assert not guard.required


async def test_it_starts_with_a_key_with_a_verifier_or_open_by_setting(tmp_path: Path) -> None:
    with_key, _ = guard_of(tmp_path, ring_of(made_key()[0]), host="0.0.0.0")
    with_issuer, _ = guard_of(tmp_path, ring_of(), Issuer(), host="0.0.0.0")
    opened, _ = guard_of(tmp_path, ring_of(), host="0.0.0.0", open_without_keys=True)
    for guard in (with_key, with_issuer, opened):
        await guard.check_start()

    assert [guard.required for guard in (with_key, with_issuer, opened)] == [True, True, False]


async def test_the_first_key_ends_an_api_that_is_open_by_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ring = ring_of()
    guard, _ = guard_of(tmp_path, ring, host="0.0.0.0", open_without_keys=True)
    assert not guard.required
    ring.apply([key_message(made_key()[0])], loaded=True)

    assert guard.required
    await guard.check_start()
    assert "IMAGEMILL_OPEN has no effect" in caplog.text


async def test_without_a_broker_it_starts_locked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard, _ = guard_of(tmp_path, KeyRing(), host="0.0.0.0")
    caplog.set_level(logging.WARNING)
    await guard.check_start()

    assert guard.required
    assert "not read yet" in caplog.text
