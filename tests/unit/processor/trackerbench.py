"""A tracker between a client and a producer that the test drives, on a table in memory."""

from __future__ import annotations

import asyncio
from typing import Any

from faust.types import TP

from processor.handover import Handover
from processor.queues.priority_queue import PriorityQueue
from processor.queues.retry_queue import RetryQueue
from processor.state.job_table import JobTables
from processor.state.tracker import Tracker
from schemas import cloudevents
from schemas.events import AnyEvent, JobFinished
from schemas.jobs import JobState
from tests.support.edge import TOPICS, Edge, Producer

EVENTS = TP("jobs.events", 0)


class Disk(dict[bytes, bytes]):
    """A partition's RocksDB."""

    def put(self, key: bytes, value: bytes) -> None:
        self[key] = value

    def delete(self, key: bytes) -> None:
        self.pop(key, None)


class FaustTable:
    """The part of Faust's table that JobTables uses: the RocksDB of a partition."""

    def __init__(self, disk: Disk) -> None:
        self.data = self
        self._disk = disk
        self._dbs = {0: disk}
        self.persisted: dict[TP, int] = {}

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        self.persisted[tp] = offset

    def _db_for_partition(self, _partition: int) -> Disk:
        return self._disk


class Bench(Edge):
    """A tracker between a client and a producer."""

    def __init__(
        self,
        disk: Disk | None = None,
        *,
        interval_s: float = 0.02,
        producer: Producer | None = None,
    ) -> None:
        super().__init__(producer)
        self.disk = disk or Disk()
        self.admission.start(EVENTS, 0)
        self._offset = 0
        self.faust_table = FaustTable(self.disk)
        self.tables = JobTables(self.faust_table, self.publisher)
        self.tracker = Tracker(self.tables, self.publisher, interval_s)

    def handover(self) -> Handover:
        """Make a handover of this tracker, with empty queues."""
        queue = PriorityQueue(32, self.client)
        retries = RetryQueue(self.publisher, self.client, 100)
        return Handover(self.admission, queue, retries, self.tracker, self.tables)

    async def track(self, *facts: AnyEvent, **fields: Any) -> None:
        """Give facts to the tracker, one after the other, with a round of the loop between."""
        for fact in facts:
            await self.track_at_once(fact, **fields)
            await asyncio.sleep(0)

    async def track_at_once(self, fact: AnyEvent, **fields: Any) -> None:
        """Give one fact to the tracker, without yielding unless the tracker waits."""
        message = self.client.carrying(fact, self._offset, EVENTS, **fields)
        admitted = self.admission.admit(message)
        self._offset += 1
        assert admitted is not None
        await self.tracker.track(admitted)

    async def all_acked(self) -> None:
        """Wait until every fact so far is acked."""
        for _ in range(1000):
            if self.client.acked == list(range(self._offset)):
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"acked {self.client.acked} of {self._offset}")

    @property
    def states(self) -> list[JobState]:
        """The job states on `jobs.state`, in the order of the log."""
        return [
            cloudevents.decode_state(sent.value)
            for sent in self.producer.to(TOPICS.state)
            if sent.value is not None and b"/" not in (sent.key or b"")
        ]

    @property
    def finished(self) -> list[JobFinished]:
        """The terminal events on `jobs.results`."""
        events = [sent.event for sent in self.producer.to(TOPICS.results)]
        assert all(isinstance(event, JobFinished) for event in events)
        return events  # type: ignore[return-value]

    def compacted(self) -> dict[bytes, bytes]:
        """The records of `jobs.state` after compaction, from which a table is recovered."""
        kept: dict[bytes, bytes] = {}
        for sent in self.producer.to(TOPICS.state):
            assert sent.key is not None
            kept.pop(sent.key, None)
            if sent.value is not None:
                kept[sent.key] = sent.value
        return kept
