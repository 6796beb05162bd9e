"""A local web server that answers each path as a test tells it to, and counts the requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """One answer of the server."""

    status: int = 200
    body: bytes = b""
    content_type: str = "image/png"
    location: str | None = None


@dataclass
class WebServer:
    """`port` on every address of this machine; of several answers to a path the last one stays."""

    port: int
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    def serve(self, path: str, *answers: Answer, host: str = "127.0.0.1") -> str:
        """Have the path answered so; its URL."""
        self.answers[path] = list(answers)
        return f"http://{host}:{self.port}{path}"


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A server until the block ends."""
    server = ThreadingHTTPServer(("0.0.0.0", 0), _Handler)
    server.state = state = WebServer(server.server_port)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        state: WebServer = self.server.state  # type: ignore[attr-defined]
        state.requests[self.path] += 1
        waiting = state.answers[self.path]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.location is not None:
            self.send_header("Location", answer.location)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """The test's own output is enough."""
