"""Forms as they stream in."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from imagemill.images.check import ImageLimits
from imagemill.storage import LocalStore, UrlSigner
from imagemill.storage.asynchronous import AsyncStore
from producer_api.http.multipart import FormLimits, FormSpec, read_form
from producer_api.http.problems import Problem
from producer_api.jobs.staging import Staging
from tests.support.pictures import picture

FORM = FormSpec(files=frozenset({"image"}), fields=frozenset({"params", "metadata", "operation"}))
LIMITS = FormLimits(max_items=2, max_field_bytes=1024, max_image_bytes=20_000)


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def sent(*parts: bytes) -> web.Request:
    """A multipart request of unknown length."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), 2**20, loop=loop)
    for data in (*parts, b"--b--\r\n"):
        reader.feed_data(data)
    reader.feed_eof()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return make_mocked_request("POST", "/v1/jobs", headers, payload=reader)


@pytest.fixture
def store(tmp_path: Path) -> AsyncStore:
    return AsyncStore(
        LocalStore(tmp_path / "objects", "http://127.0.0.1", UrlSigner("a secret of tests"))
    )


@pytest.mark.parametrize(
    "parts",
    [
        [part("unknown", b"x" * 10_000)] * 40,
        [part("image", b"", "")] * 67,
        [part("params", b"x" * 1000)] * 5,
        [part("image", picture(), "a.jpg")] * 3,
    ],
    ids=["bytes of no field", "empty files", "fields", "images"],
)
async def test_a_form_of_unknown_length_has_an_end(store: AsyncStore, parts: list[bytes]) -> None:
    async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
        with pytest.raises(Problem) as caught:
            await read_form(sent(*parts), FORM, LIMITS, staging)
    assert caught.value.status == 413


async def test_the_largest_form_is_read(store: AsyncStore) -> None:
    images = [part("image", picture(), "a.jpg")] * 2
    empty = [part("image", b"", "")] * 62
    texts = [part(name, b"x" * 1024) for name in ("params", "metadata")]
    async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
        form = await read_form(sent(*empty, *images, *texts), FORM, LIMITS, staging)
        assert form.items == len(staging.images) == 2
    assert form.text("metadata") == "x" * 1024


async def test_a_form_is_let_go_of_without_the_collector(store: AsyncStore) -> None:
    """It walks all that there is, and the API answers nobody meanwhile."""
    gc.disable()
    try:
        async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
            form = await read_form(sent(part("image", picture(), "a.jpg")), FORM, LIMITS, staging)
        kept = weakref.ref(staging), weakref.ref(form)
        del staging, form
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()
