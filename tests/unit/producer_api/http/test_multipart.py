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


def file_part(parameter: bytes) -> bytes:
    """A file whose Content-Disposition ends in this parameter."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"' + parameter
    return head + b"\r\n\r\n" + picture() + b"\r\n"


@pytest.mark.parametrize(
    ("parameter", "kept"),
    [
        (b'; filename="cup.jpg"', "cup.jpg"),
        (b'; filename="caf\xc3\xa9.jpg"', "caf\u00e9.jpg"),
        # ISO 8859-1, and what Windows adds to it.
        (b'; filename="caf\xe9.jpg"', "caf\u00e9.jpg"),
        (b'; filename="\x84caf\xe9\x93 5\x80.jpg"', "\u201ecaf\u00e9\u201c 5\u20ac.jpg"),
        (b'; filename="\x81\xff.jpg"', "\u00ff.jpg"),
        # Half of a character.
        (b'; filename="caf\xc3.jpg"', "caf\u00c3.jpg"),
        (b"; filename=cup.jpg", "cup.jpg"),
        (b"; filename=caf\xe9 two.jpg ", "caf\u00e9 two.jpg"),
        (b"; FileName = cup.jpg; size=5", "cup.jpg"),
        # RFC 8187, as RFC 7578 asks clients not to send it.
        (b"; filename*=UTF-8''caf%C3%A9.jpg", "caf\u00e9.jpg"),
        (b"; filename*=iso-8859-1'en'caf%E9.jpg", "caf\u00e9.jpg"),
        (b"; filename*=klingon''caf%C3%A9.jpg", "caf\u00e9.jpg"),
        (b"; filename*=utf-8''caf%E9.jpg", "caf\u00e9.jpg"),
        (b"; filename=\"plain.jpg\"; filename*=UTF-8''caf%C3%A9.jpg", "caf\u00e9.jpg"),
        (b"; filename*=UTF-8''caf%C3%A9.jpg; filename=\"plain.jpg\"", "caf\u00e9.jpg"),
        (b"; filename=\"a; filename*=UTF-8''b.jpg\"", "a; filename*=UTF-8''b.jpg"),
        (b'; filename="a; filename=b.jpg"', "a; filename=b.jpg"),
        # Quotation marks and backslashes, as browsers and as others write them.
        (b'; filename="a%22b.jpg"', 'a"b.jpg'),
        (b'; filename="a\\"b.jpg"', 'a"b.jpg'),
        (b'; filename="C:\\photos\\caf\xe9.jpg"', "caf\u00e9.jpg"),
        (b'; filename="../../cup.jpg"', "cup.jpg"),
        (b'; filename="a\tb.jpg"', "ab.jpg"),
        (b'; filename="100%.jpg"', "100%.jpg"),
        (b'; filename=""', None),
        (b'; filename="/"', None),
        (b"", None),
        (b'; filename="' + b"x" * 9000 + b'.jpg"', "x" * 251 + ".jpg"),
        (b'; filename="' + b"\xe9" * 9000 + b'.jpg"', "\u00e9" * 251 + ".jpg"),
    ],
)
async def test_a_file_is_taken_whatever_the_bytes_of_its_name(
    store: AsyncStore, parameter: bytes, kept: str | None
) -> None:
    async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
        await read_form(sent(file_part(parameter)), FORM, LIMITS, staging)
        assert [image.filename for image in staging.images] == [kept]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc', 400),
        (b"--b\r\nNothing\r\n\r\nabc\r\n", 400),
        (b"--b\r\nContent-Type: image/png\r\n\r\nabc\r\n", 400),
        (b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nabc\r\n", 400),
        (b"--b\r\nX-\xff: 1\r\n\r\nabc\r\n", 400),
        (b"no boundary at all", 400),
        (file_part(b'; filename="' + b"x" * 20_000 + b'"'), 413),
    ],
)
async def test_a_broken_form_is_refused_in_words(
    store: AsyncStore, raw: bytes, status: int
) -> None:
    with pytest.raises(Problem) as caught:
        async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
            await read_form(sent(raw), FORM, LIMITS, staging)
    assert caught.value.status == status
    assert not [mark for mark in ("Error", "b'", "('", "\\x") if mark in caught.value.detail]


async def test_a_field_name_that_is_no_utf_8_is_named(store: AsyncStore) -> None:
    raw = b'--b\r\nContent-Disposition: form-data; name="gr\xf6\xdfe"\r\n\r\n1\r\n'
    with pytest.raises(Problem, match="gr\u00f6\u00dfe") as caught:
        async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
            await read_form(sent(raw), FORM, LIMITS, staging)
    assert (caught.value.status, caught.value.code) == (422, "fields_unknown")


@pytest.mark.parametrize("boundary", ["", "\u20ac", '"a\\nb"'])
async def test_a_boundary_that_is_none_is_a_400(store: AsyncStore, boundary: str) -> None:
    request = sent(part("params", b"{}"))
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = make_mocked_request("POST", "/v1/jobs", headers, payload=request.content)
    with pytest.raises(Problem) as caught:
        async with Staging(store, "uploads/job-00001.", ImageLimits()) as staging:
            await read_form(request, FORM, LIMITS, staging)
    assert (caught.value.status, caught.value.code) == (400, "body_invalid")
