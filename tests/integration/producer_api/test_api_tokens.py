"""Tokens of an OIDC issuer on a running API: away at its start, then there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.issuer import AUDIENCE, Issuer
from tests.support.waiting import wait_until


@pytest.fixture
def issuer(free_port: Callable[[], int]) -> Iterator[tuple[Issuer, Callable[[], None]]]:
    """An issuer that does not answer, and the function that makes it answer."""
    made = Issuer(free_port())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield made, lambda: asyncio.run_coroutine_threadsafe(made.start(), loop).result(10)
    asyncio.run_coroutine_threadsafe(made.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_an_api_starts_without_its_issuer_and_takes_its_tokens_later(serve, issuer):
    made, answer = issuer
    api, _ = serve(oidc_issuer=made.url, oidc_audience=AUDIENCE)
    bearer = {"Authorization": f"Bearer {made.token()}"}
    away = api.get("/v1/jobs", headers=bearer)
    assert (away.status_code, away.json()["code"]) == (503, "issuer_unavailable")
    assert away.headers["Retry-After"]
    assert api.get("/v1/jobs").status_code == 401

    answer()
    listed = wait_until(
        lambda: api.get("/v1/jobs", headers=bearer), lambda got: got.status_code == 200
    )
    assert listed.json()["jobs"] == []
    refused = api.post("/v1/jobs", json={"operation": "noop"}, headers=bearer)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    writer = {"Authorization": f"Bearer {made.token(scope='jobs:write jobs:read')}"}
    job = api.post("/v1/jobs", json={"operation": "noop"}, headers=writer)
    assert job.status_code == 202
    stranger = {"Authorization": f"Bearer {made.token(sub='eve')}"}
    assert api.get(f"/v1/jobs/{job.json()['id']}", headers=stranger).status_code == 404
    assert api.get(f"/v1/jobs/{job.json()['id']}", headers=bearer).status_code == 200
    expired = {"Authorization": f"Bearer {made.token(exp=1_000_000_000)}"}
    answered = api.get("/v1/jobs", headers=expired)
    assert answered.status_code == 401
    assert answered.json()["detail"] == "The token has expired; get a new one."
    assert 'error="invalid_token"' in answered.headers["WWW-Authenticate"]
