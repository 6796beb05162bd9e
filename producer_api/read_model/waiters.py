"""Requests that wait: for a job to change, or for the feed's next transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Waiters:
    """Futures of each job's next change, for one loop; bounded, since each is an open request."""

    def __init__(self, limit: int) -> None:
        """`limit` is the number of requests that may wait at once."""
        self._limit = limit
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._closed = False
        self.count = 0
        """Requests that wait."""

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Future[None] | None]:
        """Give a future of the job's next change; None when too many wait, or the server stops.

        Read the job after entering the block: then no change falls between.
        """
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
        """Resolve the futures of jobs that changed."""
        if not self._waiting:
            return
        for job_id in job_ids:
            _resolve(self._waiting.get(job_id, ()))

    def close(self) -> None:
        """Resolve all futures and give no more, so that all requests are answered: server stop."""
        self._closed = True
        self.wake(list(self._waiting))


class TransactionWaiters:
    """Futures of the feed's next transaction, for one loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def count(self) -> int:
        """Requests that wait; any thread may ask."""
        return len(self._waiting)

    @contextmanager
    def watch(self) -> Iterator[asyncio.Future[None]]:
        """Give a future of the next transaction.

        Ask for what is waited for after entering the block: then no transaction falls between.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            yield future
        finally:
            self._waiting.discard(future)

    def wake(self) -> None:
        """Resolve the futures: a transaction was made."""
        _resolve(self._waiting)


def _resolve(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
