"""What a browser is told when a page of another origin calls the API."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from producer_api.http.cors import allow_origins, parse_origins
from producer_api.http.problems import Problem, problems_middleware

PAGE = "https://example.org"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "content-type,idempotency-key",
}


async def job(_: web.Request) -> web.Response:
    return web.json_response({}, headers={"Vary": "Accept"})


async def refuse(_: web.Request) -> web.Response:
    raise Problem(422, "id_invalid", "No.")


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"data\n\n")
    return response


def client(setting: str) -> TestClient:
    app = web.Application(middlewares=[problems_middleware])
    app.router.add_get("/job", job)
    app.router.add_put("/job", refuse)
    app.router.add_get("/events", events)
    allow_origins(app, parse_origins(setting))
    return TestClient(TestServer(app))


async def test_by_default_no_other_origin_may_read() -> None:
    async with client("") as browser:
        got = await browser.get("/job", headers={"Origin": PAGE})
        asked = await browser.options("/job", headers=PREFLIGHT)
    assert asked.status == 405
    for answer in (got, asked):
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("setting", "told"),
    [("https://a.example, https://example.org/", PAGE), ("HTTPS://Example.org", PAGE), ("*", "*")],
)
async def test_a_page_of_an_allowed_origin_may_read(setting: str, told: str) -> None:
    async with client(setting) as browser:
        answers = [
            await browser.get("/job", headers={"Origin": PAGE}),
            await browser.put("/job", headers={"Origin": PAGE}),
            await browser.get("/nothing", headers={"Origin": PAGE}),
            await browser.get("/events", headers={"Origin": PAGE}),
        ]
    assert [answer.status for answer in answers] == [200, 422, 404, 200]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == told
        assert "Location" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("setting", [PAGE, "*"])
async def test_a_preflight_is_answered_without_the_route(setting: str) -> None:
    async with client(setting) as browser:
        answer = await browser.options("/job", headers=PREFLIGHT)
        body = await answer.read()
    assert (answer.status, body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == setting
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type,idempotency-key"
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.org.evil.example", "http://example.org", "https://example.org:8443",
        "null",
    ],
)  # fmt: skip
async def test_other_origins_are_not_let_in(origin: str) -> None:
    async with client(PAGE) as browser:
        got = await browser.get("/job", headers={"Origin": origin})
        asked = await browser.options("/job", headers=PREFLIGHT | {"Origin": origin})
    assert asked.status == 405
    for answer in (got, asked):
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_caches_are_told_that_the_origin_matters() -> None:
    async with client(PAGE) as browser:
        with_origin = await browser.get("/job", headers={"Origin": PAGE})
        without = await browser.get("/job")
    for answer in (with_origin, without):
        assert answer.headers.getall("Vary") == ["Accept", "Origin"]


async def test_an_options_request_that_is_no_preflight_goes_to_the_route() -> None:
    async with client("*") as browser:
        assert (await browser.options("/job", headers={"Origin": PAGE})).status == 405


@pytest.mark.parametrize("text", ["example.org", "https://example.org/app", "ftp://a", "https://"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="IMAGEMILL_CORS_ORIGINS"):
        parse_origins(f"https://fine.example,{text}")
