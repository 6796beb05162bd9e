"""A local web server with an answer for each path, set by the test, and a count of requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.servers import QuietHandler, http_server


@dataclass(frozen=True)
class Answer:
    """One answer of the server."""

    status: int = 200
    body: bytes = b""
    content_type: str = "image/png"
    location: str | None = None


@dataclass
class WebServer:
    """A server on `port` of every address of this machine.

    Of several answers to a path each is given once, and the last one again and again.
    """

    port: int
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    def serve(self, path: str, *answers: Answer, host: str = "127.0.0.1") -> str:
        """Set the answers to a path and return its URL."""
        self.answers[path] = list(answers)
        return f"http://{host}:{self.port}{path}"


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Serve until the block ends."""
    with http_server(_Handler, "0.0.0.0") as server:
        server.state = state = WebServer(server.server_port)  # type: ignore[attr-defined]
        yield state


class _Handler(QuietHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
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
