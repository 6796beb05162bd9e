"""A local HTTP server of one file whose faults a test sets: cut, wrong and refused answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from tests.support.servers import QuietHandler, http_server


@dataclass
class ModelServer:
    """The content and the faults of the server, at every path.

    `ranges`: honour Range headers. `shift`: bytes by which Content-Range is wrong. `drops`: for one
    request each, after how many bytes of the body the connection is cut. `statuses`: error answers
    that come before the content. `requests` and `paths`: Range header (None without one) and path
    of every request so far.
    """

    content: bytes
    ranges: bool = True
    shift: int = 0
    drops: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(content: bytes) -> Iterator[ModelServer]:
    """Serve the content on a free port until the block ends."""
    state = ModelServer(content)
    with http_server(_handler(state)) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/model.onnx"
        yield state


def _handler(state: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requests.append(asked)
            state.paths.append(self.path)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            total = len(state.content)
            if start >= total > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if asked and state.ranges else 200)
            if asked and state.ranges:
                first = start + state.shift
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = state.drops.pop(0) if state.drops else len(body)
            self.wfile.write(body[:cut])
            self.close_connection = True

    return Handler
