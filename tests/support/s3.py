"""An S3 server (moto's), and proxies before it that fail, record or refuse requests."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.support.servers import QuietHandler, http_server

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test-secret"}
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass
class FlakyServer:
    """A proxy at `url` that answers 503 to the requests of `fail` and forwards all others."""

    url: str
    failing: list[tuple[str, str]] = field(default_factory=list)
    failed: int = 0

    def fail(self, method: str, path_part: str, times: int) -> None:
        """Fail the next `times` requests of a method whose path contains `path_part`."""
        self.failing += [(method, path_part)] * times

    def recover(self) -> None:
        """Forward every request again."""
        self.failing.clear()
        self.failed = 0

    def refuses(self, method: str, path: str) -> bool:
        """Return True, and count the failure, if this request is to fail."""
        for rule in self.failing:
            if rule[0] == method and rule[1] in path:
                self.failing.remove(rule)
                self.failed += 1
                return True
        return False


@dataclass
class Bucket:
    """A new bucket on a moto server at `url`; `flaky` is the proxy before it."""

    name: str
    url: str
    client: Any
    flaky: FlakyServer

    def all_keys(self) -> list[str]:
        """List all keys in it."""
        listed = self.client.list_objects_v2(Bucket=self.name)
        return [entry["Key"] for entry in listed.get("Contents", ())]


@contextmanager
def s3_bucket() -> Iterator[Bucket]:
    """Run a server with a bucket, and the proxy before it, until the block ends."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)
    name = f"bucket-{uuid.uuid4()}"
    client.create_bucket(Bucket=name)
    try:
        with _proxy(host, port) as flaky:
            yield Bucket(name, url, client, flaky)
    finally:
        server.stop()


@contextmanager
def _proxy(host: str, port: int) -> Iterator[FlakyServer]:
    with http_server(_Handler) as server:
        server.behind = (host, port)  # type: ignore[attr-defined]
        url = f"http://127.0.0.1:{server.server_port}"
        server.state = state = FlakyServer(url)  # type: ignore[attr-defined]
        yield state


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.state.refuses(self.command, self.path):  # type: ignore[attr-defined]
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        connection = http.client.HTTPConnection(
            *self.server.behind,
            timeout=30,  # type: ignore[attr-defined]
        )
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def do_GET(self) -> None:
        """Forward the request; of every method."""
        self._forward()

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: the server behind answers when it has the body."""
        self.send_response_only(100)
        self.end_headers()
        return True

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        # The answer to a HEAD states the length of a body that does not follow.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)


@dataclass
class Recorder:
    """A proxy at `url` that keeps method, path and headers of each request."""

    url: str
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def headers(self, method: str, path_part: str) -> dict[str, str]:
        """Return the headers of the last request of a method whose path contains `path_part`."""
        found = [
            headers for verb, path, headers in self.requests if verb == method and path_part in path
        ]
        return found[-1]


@contextmanager
def recording(bucket: Bucket, handler: type[_Handler] | None = None) -> Iterator[Recorder]:
    """Run a proxy before the server of a bucket until the block ends."""
    with http_server(handler or _RecordingHandler) as server:
        server.behind = bucket.url.removeprefix("http://").split(":")  # type: ignore[attr-defined]
        url = f"http://127.0.0.1:{server.server_port}"
        server.state = FlakyServer(url)  # type: ignore[attr-defined]
        server.seen = recorder = Recorder(url)  # type: ignore[attr-defined]
        yield recorder


@contextmanager
def google_like(bucket: Bucket) -> Iterator[Recorder]:
    """Run a proxy that refuses what Google Cloud Storage refuses of S3's protocol."""
    with recording(bucket, _GoogleHandler) as recorder:
        yield recorder


class _RecordingHandler(_Handler):
    def do_GET(self) -> None:
        """Keep the request and forward it; of every method."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.requests.append((self.command, self.path, headers))  # type: ignore[attr-defined]
        self._forward()

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET


class _GoogleHandler(_RecordingHandler):
    """Without DeleteObjects, checksums and chunked signatures; 404 for a DELETE of nothing."""

    def do_GET(self) -> None:
        """Refuse the request as Google does, or forward it; of every method."""
        checksummed = any(name.lower().startswith("x-amz-checksum-") for name in self.headers)
        if self.command == "POST" and "?delete" in self.path:
            self._refuse(501, "NotImplemented")
        elif checksummed or "aws-chunked" in self.headers.get("Content-Encoding", ""):
            self._refuse(400, "InvalidArgument")
        elif self.command == "DELETE" and not self._exists():
            self._refuse(404, "NoSuchKey")
        else:
            super().do_GET()

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def _exists(self) -> bool:
        connection = http.client.HTTPConnection(*self.server.behind, timeout=30)  # type: ignore[attr-defined]
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
            connection.request("HEAD", self.path, None, headers)
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def _refuse(self, status: int, code: str) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(status, {}, f"<Error><Code>{code}</Code></Error>".encode())
