"""Hands partitions over when they move, in the order that guarantee 8 depends on."""

from __future__ import annotations

from processor.messages.admission import Admission
from processor.queues.priority_queue import PriorityQueue
from processor.queues.retry_queue import RetryQueue
from processor.state.job_table import JobTables
from processor.state.tracker import Tracker


class Handover:
    """Empties the worker before its partitions move."""

    def __init__(
        self,
        admission: Admission,
        queue: PriorityQueue,
        retries: RetryQueue,
        tracker: Tracker,
        tables: JobTables,
    ) -> None:
        self._admission = admission
        self._queue = queue
        self._retries = retries
        self._tracker = tracker
        self._tables = tables

    async def revoke(self) -> None:
        """Prepare for a rebalance or a stop: nothing runs afterwards, and all is ready to commit.

        1. Admit nothing more.
        2. Drop the messages that have not started: the partitions' next owner reads them again.
        3. Publish the states that are held back, since their facts count as running.
        4. Wait for the running messages, for the grace at most.
        """
        # Steps 1 to 3 without an await in between: no agent or slot may run until they are done.
        self._admission.close()  # 1
        self._queue.clear()  # 2
        self._retries.clear()
        self._tracker.flush_all()  # 3
        await self._admission.drain()  # 4
        self._tables.persist_offsets()
