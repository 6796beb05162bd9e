"""A receiver of webhooks that keeps the posts of each path, and answers as the test says."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Standard

from tests.support.servers import QuietHandler, http_server
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Post:
    """A post that was received."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The body, not verified."""
        return json.loads(self.body)

    @property
    def id(self) -> str:
        """The `webhook-id`."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """Return the body. Raises standardwebhooks' error when no signature fits the secret."""
        return Standard(secret).verify(self.body, self.headers)


@dataclass
class Hook:
    """The receiver; `status` by path is the status that it answers with, else 204."""

    port: int
    posts: defaultdict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))
    status: dict[str, int] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait(self, path: str, count: int = 1) -> list[Post]:
        """Wait until a path got so many posts; return them."""
        return wait_until(lambda: self.posts[path], lambda got: len(got) >= count, timeout_s=60)


@contextmanager
def hook() -> Iterator[Hook]:
    """Receive until the block ends."""
    with http_server(_Handler) as server:
        server.state = state = Hook(server.server_port)  # type: ignore[attr-defined]
        yield state


class _Handler(QuietHandler):
    def do_POST(self) -> None:
        state: Hook = self.server.state  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        state.posts[self.path].append(Post(headers, body))
        self.send_response(state.status.get(self.path, 204))
        self.send_header("Content-Length", "0")
        self.end_headers()
