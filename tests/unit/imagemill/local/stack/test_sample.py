"""The sample photo of `imagemill up` with an API that asks for a key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagemill.local.stack.sample import KeyNeeded, send_sample
from tests.support.servers import QuietHandler, http_server

KEY = "im_1"


class Locked(QuietHandler):
    """An API with one key, and a store that its results redirect to."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] == f"Bearer {KEY}":
            self._answer(200, json.dumps({"id": "job-00001", "status": "succeeded"}).encode())
        else:
            self._answer(401, b"{}")

    def do_GET(self) -> None:
        if self.path == "/store":
            # As S3 does with a presigned URL: a second authorization is an error.
            self._answer(400 if "Authorization" in self.headers else 200, b"a picture")
        else:
            self._answer(302, b"", ("Location", "/store"))

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of an API that asks for a key."""
    with http_server(Locked) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_without_a_key_it_says_that_one_is_needed(url: str, tmp_path: Path) -> None:
    with pytest.raises(KeyNeeded):
        send_sample(url, tmp_path)


def test_the_key_goes_to_the_api_and_not_to_the_store(url: str, tmp_path: Path) -> None:
    sample = send_sample(url, tmp_path, KEY)

    assert sample.cutout.read_bytes() == b"a picture"
