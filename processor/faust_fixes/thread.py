"""The thread that talks to Kafka: prompt or full fetches, and none that a seek has overtaken."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, ensure_aiokafka_TP
from faust.types import TP

from imagemill.kafka.load import LoadMeter

# A partition that becomes fetchable while a fetch already waits at the broker sits that wait out.
# Faust hard-codes 1500 ms.
FETCH_MAX_WAIT_MS = 50
# While records of any partition lie fetched and unread, as those of a paused one do, aiokafka asks
# that broker for nothing else: 100 ms, hard-coded. A full low queue held up the high one so, and
# each partition's first changelog record everything.
PREFETCH_BACKOFF_S = 0.0
# While many messages come, a fetch waits this long for more of them, or for so many bytes: one
# for every message is most of the work, the broker's too.
BUSY_FETCH_WAIT_MS = 20
BUSY_FETCH_BYTES = 64 << 10
# After so many such fetches that brought a single message, none waits for this long: many messages
# come, but each only when the one before is done with, as from one client that awaits its results.
FETCHES_IN_VAIN = 3
REST_S = 5.0


class HardenedConsumerThread(AIOKafkaConsumerThread):
    """AIOKafkaConsumerThread without the reads that Faust throws away."""

    leave_on_stop = True
    fetches_overtaken = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pace: LoadMeter = self.transport.pace
        self._in_vain = 0

    async def on_start(self) -> None:
        """Start the client, then shorten the waits that Faust and aiokafka do not let us set."""
        await super().on_start()
        fetcher = self._ensure_consumer()._fetcher
        fetcher._prefetch_backoff = PREFETCH_BACKOFF_S
        self._wait_for_more(fetcher, False)

    @staticmethod
    def _wait_for_more(fetcher: Any, busy: bool) -> None:
        """Set what the next fetches wait for."""
        fetcher._fetch_max_wait_ms = BUSY_FETCH_WAIT_MS if busy else FETCH_MAX_WAIT_MS
        fetcher._fetch_min_bytes = BUSY_FETCH_BYTES if busy else 1

    def _is_busy(self, fetched: int) -> bool:
        """Whether fetches should wait for more, after one of so many messages."""
        if not self.pace.count(fetched) or not fetched:
            return self.pace.high
        self._in_vain = self._in_vain + 1 if fetched == 1 else 0
        if self._in_vain == FETCHES_IN_VAIN:
            self._in_vain = 0
            self.pace.hold_low(REST_S)
        return self.pace.high

    async def on_thread_stop(self) -> None:
        """Leave the group on a clean stop."""
        self.give_up_membership()
        await super().on_thread_stop()

    def give_up_membership(self) -> None:
        """Become a dynamic member, one that leaves its group when it stops.

        Stock: a static member never sends LeaveGroup, so the partitions of a worker that was
        stopped for good idle for the session timeout.
        """
        if self.leave_on_stop and self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None

    def seek_soon(self, tp: TP, offset: int) -> asyncio.Future[None]:
        """Seek in the client's own thread, between its fetches; await it to know that it is done.

        Stock: seeks from the main thread; one in the middle of a fetch crashes the client
        (KeyError), and its wake-up of the fetcher may not be heard.
        """
        done = asyncio.run_coroutine_threadsafe(
            self._seek_if_assigned(tp, offset), self.thread_loop
        )
        return asyncio.wrap_future(done)

    async def _seek_if_assigned(self, tp: TP, offset: int) -> None:
        consumer = self._ensure_consumer()
        if tp in consumer.assignment():
            consumer.seek(ensure_aiokafka_TP(tp), offset)

    async def getmany(self, active_partitions: AbstractSet[TP] | None, timeout: float) -> Any:
        """Read from a frozen, never empty set of partitions.

        Stock: hands its live set to this thread; when that empties meanwhile, aiokafka takes it
        for "all", and Faust drops what it gets from paused partitions.
        """
        frozen = frozenset(active_partitions or ())
        if not frozen:
            await asyncio.sleep(0.02)
            return {}
        return await super().getmany(frozen, timeout)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: AbstractSet[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        """Return nothing from a fetch that a seek has overtaken; go back to its first record.

        And have the next fetches wait a little while many messages come.

        Stock: a fetch may wait across a whole rebalance; its records come back after the seek to
        the committed offset, are dropped because the partitions are paused, but have moved the
        position on: holes of one to dozens of messages a second after a rebalance.
        """
        epoch = self.consumer.seek_epoch
        records = await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=max_records
        )
        fetched = sum(map(len, records.values())) if records else 0
        self._wait_for_more(consumer._fetcher, self._is_busy(fetched))
        if not records or epoch == self.consumer.seek_epoch:
            return records
        self.fetches_overtaken += 1
        for tp, batch in records.items():
            consumer.seek(tp, batch[0].offset)
        return {}
