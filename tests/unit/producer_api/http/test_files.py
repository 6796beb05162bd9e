"""Files of the folder store over HTTP: the same bytes whole, in ranges, and only once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from imagemill.storage import LocalStore, UrlSigner
from imagemill.storage.asynchronous import AsyncStore
from producer_api.http.files import serve_object
from producer_api.http.problems import problems_middleware

SMALL = bytes(range(256)) * 4
# More than is read at a time.
LARGE = os.urandom(700_000)
FILES = {"results/a/0.png": SMALL, "results/a/1.png": LARGE}


@pytest.fixture
def store(tmp_path: Path) -> AsyncStore:
    local = LocalStore(tmp_path / "objects", "http://127.0.0.1", UrlSigner("a secret of tests"))
    for key, data in FILES.items():
        local.put(key, data, "image/png")
    return AsyncStore(local)


@pytest.fixture
async def client(store: AsyncStore) -> AsyncIterator[TestClient]:
    async def get(request: web.Request) -> web.StreamResponse:
        return await serve_object(request, store, request.match_info["key"], None, "caf\u00e9.png")

    app = web.Application(middlewares=[problems_middleware])
    app.router.add_get("/{key:.+}", get)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize("key", FILES)
async def test_a_file_is_answered_whole(client: TestClient, key: str) -> None:
    async with client.get(f"/{key}") as answer:
        assert (answer.status, await answer.read()) == (200, FILES[key])
    assert answer.content_length == len(FILES[key])
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''caf%C3%A9.png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("key", FILES)
@pytest.mark.parametrize(
    ("asked", "first", "stop"), [("0-3", 0, 4), ("-5", -5, None), ("1-600000", 1, 600_001)]
)
async def test_a_range_is_answered_with_its_bytes(
    client: TestClient, key: str, asked: str, first: int, stop: int | None
) -> None:
    data = FILES[key]
    async with client.get(f"/{key}", headers={"Range": f"bytes={asked}"}) as answer:
        assert (answer.status, await answer.read()) == (206, data[first:stop])
    begin, last = range(len(data))[first:stop][0], range(len(data))[first:stop][-1]
    assert answer.headers["Content-Range"] == f"bytes {begin}-{last}/{len(data)}"


async def test_a_download_in_two_parts_is_the_file(client: TestClient) -> None:
    """As a client resumes it: with the entity tag of the first part."""
    key = "results/a/1.png"
    async with client.get(f"/{key}", headers={"Range": "bytes=0-399999"}) as answer:
        begun, etag = await answer.read(), answer.headers["ETag"]
    headers = {"Range": "bytes=400000-", "If-Range": etag}
    async with client.get(f"/{key}", headers=headers) as answer:
        assert (answer.status, begun + await answer.read()) == (206, LARGE)
    headers["If-Range"] = '"zz"'
    async with client.get(f"/{key}", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (200, LARGE)


async def test_a_replaced_file_is_another_one(client: TestClient, store: AsyncStore) -> None:
    key = "results/a/0.png"
    async with client.get(f"/{key}") as answer:
        etag = answer.headers["ETag"]
    async with client.get(f"/{key}", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert "Content-Type" not in answer.headers
    store.blocking.put(key, LARGE, "image/png")
    async with client.get(f"/{key}", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (200, LARGE)
    async with client.get(f"/{key}", headers={"If-Match": etag}) as answer:
        assert (answer.status, answer.content_type) == (412, "application/problem+json")
        assert (await answer.json())["code"] == "precondition_failed"


async def test_a_range_past_the_end_is_told_the_length(client: TestClient) -> None:
    headers = {"Range": "bytes=5000-"}
    async with client.get("/results/a/0.png", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (416, "application/problem+json")
        assert (await answer.json())["code"] == "range_unsatisfiable"
    assert answer.headers["Content-Range"] == "bytes */1024"


@pytest.mark.parametrize("key", FILES)
@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=0-3"}])
async def test_head_has_the_headers_of_the_whole_file(
    client: TestClient, key: str, fields: dict[str, str]
) -> None:
    async with client.get(f"/{key}") as got:
        await got.read()
    async with client.head(f"/{key}", headers=fields) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    same = ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges")
    assert [answer.headers[name] for name in same] == [got.headers[name] for name in same]


async def test_what_is_not_there_is_a_404(client: TestClient) -> None:
    async with client.get("/results/a/2.png") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_found")


class Elsewhere(LocalStore):
    """A store that serves its objects itself, as S3 does."""

    remote = True

    def local_path(self, key: str) -> None:  # type: ignore[override]
        return None


async def test_an_object_of_another_server_is_a_redirect(tmp_path: Path) -> None:
    local = Elsewhere(tmp_path, "http://store.example", UrlSigner("a secret of tests"))
    store = AsyncStore(local)

    async def get(request: web.Request) -> web.StreamResponse:
        return await serve_object(request, store, "results/a/0.png", "image/png", "a.png")

    app = web.Application(middlewares=[problems_middleware])
    app.router.add_get("/", get)
    async with TestClient(TestServer(app)) as client:
        headers = {"Range": "bytes=0-3"}
        async with client.get("/", headers=headers, allow_redirects=False) as answer:
            assert answer.status == 302
        assert answer.headers["Location"].startswith("http://store.example/files/results/a/0.png?")
        assert answer.headers["Cache-Control"] == "no-store"
        # A page's script cannot follow the redirect; it asks for the URL.
        async with client.get("/", headers={"Accept": "image/*, text/uri-list"}) as named:
            assert (named.status, named.content_type) == (200, "text/uri-list")
            assert (await named.text()).strip() == answer.headers["Location"]
            assert named.headers["Cache-Control"] == "no-store"


async def test_every_file_is_closed(client: TestClient) -> None:
    before = len(os.listdir("/dev/fd"))
    for key in FILES:
        for fields in ({}, {"Range": "bytes=-9"}, {"Range": "bytes=9999999-"}, {"If-Match": '"'}):
            async with client.get(f"/{key}", headers=fields) as answer:
                await answer.read()
    # One connection, kept open on both sides.
    assert len(os.listdir("/dev/fd")) <= before + 2
