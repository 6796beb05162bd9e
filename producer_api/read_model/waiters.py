"""Requests that wait for a job to change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Waiters:
    """Futures by job, resolved at its next change; bounded, since each is an open request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._closed = False
        self.count = 0

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Future[None] | None]:
        """A future of the job's next change; None when too many wait, or the server stops."""
        if self._closed or self.count >= self._limit:
            yield None
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(future)
        self.count += 1
        try:
            yield future
        finally:
            self.count -= 1
            others = self._waiting[job_id]
            others.discard(future)
            if not others:
                del self._waiting[job_id]

    def wake(self, job_ids: Iterable[str]) -> None:
        """The jobs changed."""
        if not self._waiting:
            return
        for job_id in job_ids:
            for future in self._waiting.get(job_id, ()):
                if not future.done():
                    future.set_result(None)

    def close(self) -> None:
        """Let all go, so that the server can stop: they answer with what they have."""
        self._closed = True
        self.wake(list(self._waiting))
