"""The scout: finds the messages of other owners behind a long queue, and admits them ahead."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from confluent_kafka import KafkaException
from faust.types import TP

from processor.faust_access import ConsumerAccess
from processor.messages.admission import Admission
from processor.queues.ahead_room import Rooms
from processor.queues.priority_queue import PriorityQueue
from processor.scout.log_reader import LogMessage, LogReader
from processor.scout.partition_scan import PartitionScan
from schemas.cloudevents import owner_of
from schemas.jobs import Priority

log = logging.getLogger(__name__)

# Messages of one read: the thread holds the interpreter for about 2 ms with them.
_BATCH = 500
# Longest wait for a message: with one owner in the logs, and with several, whose room may grow.
_WAIT_S = 0.1
_SHORT_WAIT_S = 0.02
# Pause between two looks for paused partitions, when none is scanned.
_LOOK_S = 0.1
# A partition whose end the consumer itself has reached is scanned for this much longer.
_LINGER_S = 2.0
_RETRY_S = 5.0

T = TypeVar("T")


class Scout:
    """Reads ahead of the consumer in partitions that a full queue has paused.

    The consumer reads a partition in order, so behind 100,000 messages of one owner it would not
    see another's for hours. The scout reads on to the end of the log with a client of its own, and
    of the headers alone it finds the owner of each message. Messages of owners whom the queue lacks
    it admits ahead, as many as there is room for (`PriorityQueue.room_ahead`); the others stay in
    the log. The consumer passes over those messages when it arrives at them (`Admission`).

    It rests while no partition is paused, and has no connection then.
    """

    def __init__(
        self,
        reader: LogReader,
        admission: Admission,
        consumer: ConsumerAccess,
        queue: PriorityQueue,
        priorities: Mapping[str, Priority],
        limit: int,
    ) -> None:
        """
        Args:
            priorities: the priority of each topic to scan.
            limit: most messages ahead in the queue.
        """
        self._reader = reader
        self._admission = admission
        self._consumer = consumer
        self._queue = queue
        self._priorities = priorities
        self._limit = limit
        self._generation = -1
        self._partitions: list[TP] = []
        self._scans: dict[TP, PartitionScan] = {}
        # Since when the consumer itself is at the end of a scanned partition, monotonic seconds.
        self._caught_up: dict[TP, float] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scout")

    async def run(self) -> None:
        """Scan whenever partitions are paused, for ever."""
        try:
            while True:
                try:
                    await self._round()
                except KafkaException as error:
                    log.warning("the scout starts again in %.0f s: %s", _RETRY_S, error)
                    self._scans.clear()
                    await self._in_thread(self._reader.close)
                    await asyncio.sleep(_RETRY_S)
        finally:
            await self._in_thread(self._reader.close)
            self._thread.shutdown(wait=False)

    async def _round(self) -> None:
        """Read once, and admit what was found; or look whether there is anything to read."""
        generation = self._consumer.generation
        self._update_scans(generation)
        if not self._scans:
            if self._reader.is_open:
                await self._in_thread(self._reader.close)
            await asyncio.sleep(_LOOK_S)
            return
        rooms = self._queue.room_ahead(self._limit)
        full = {
            tp
            for tp, scan in self._scans.items()
            if not self._admission.admits_ahead(tp, scan.position)
        }
        seeks = self._plan_seeks(rooms, full)
        taken = await self._in_thread(partial(self._read, rooms, seeks, full))
        if self._consumer.rebalancing:
            return
        for message in taken:
            admitted = self._admission.admit_ahead(message, generation)
            if admitted is not None:
                self._queue.put(self._priorities[message.tp.topic], admitted)

    def _in_thread(self, function: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _update_scans(self, generation: int) -> None:
        """Begin the scans of paused partitions; end those that the consumer has caught up with."""
        if self._consumer.rebalancing:
            self._scans.clear()
            self._generation = -1
            return
        if generation != self._generation:
            self._generation = generation
            self._scans.clear()
            self._partitions = [
                tp for tp in self._admission.partitions if tp.topic in self._priorities
            ]
        for tp in self._partitions:
            expected = self._admission.expected(tp)
            scan = self._scans.get(tp)
            if expected is None:
                self._scans.pop(tp, None)
            elif scan is None:
                if self._consumer.is_paused(tp):
                    self._scans[tp] = PartitionScan(expected)
                    self._caught_up.pop(tp, None)
            elif self._consumer.is_paused(tp) or expected < scan.frontier:
                self._caught_up.pop(tp, None)
            elif time.monotonic() - self._caught_up.setdefault(tp, time.monotonic()) > _LINGER_S:
                del self._scans[tp]

    def _plan_seeks(self, rooms: Rooms, full: AbstractSet[TP]) -> dict[TP, int]:
        """Decide which scans go back to messages that were skipped, one in each priority at once.

        More would fetch, of several partitions, what there is room for only once.
        """
        seeks: dict[TP, int] = {}
        passing = {self._priorities[tp.topic] for tp, scan in self._scans.items() if scan.in_pass}
        for tp, scan in list(self._scans.items()):
            priority, was_in_pass = self._priorities[tp.topic], scan.in_pass
            wants = _nobody if tp in full else rooms[priority].wants
            expected = self._admission.expected(tp) or 0
            target = scan.next_seek(expected, wants, may_begin=priority not in passing)
            if target is not None:
                seeks[tp] = target
            if scan.in_pass and not was_in_pass:
                passing.add(priority)
                self._scans[tp] = self._scans.pop(tp)  # the last one to go back the next time
        return seeks

    def _read(
        self, rooms: Rooms, seeks: Mapping[TP, int], full: AbstractSet[TP]
    ) -> list[LogMessage]:
        """Read a batch; return the messages to admit. Runs in the thread, while `run` waits."""
        self._reader.follow({tp: scan.position for tp, scan in self._scans.items()}, seeks)
        scans = {
            tp: (scan, rooms[self._priorities[tp.topic]], _nobody if tp in full else None)
            for tp, scan in self._scans.items()
        }
        taken = []
        for message in self._reader.read(_BATCH, self._wait_s(rooms)):
            # Not a TP, which takes a tenth of the time of a scan to make.
            where = (message.topic(), message.partition())
            if where not in scans:
                continue
            scan, room, nobody = scans[where]
            headers = message.headers() or []
            owner = owner_of(headers)
            if scan.offer(owner, message.offset(), nobody or room.wants):
                found = LogMessage.of(TP(*where), message, headers)
                room.take(owner, len(found.value or b""))
                taken.append(found)
        return taken

    def _wait_s(self, rooms: Rooms) -> float:
        shared = any(room.is_shared for room in rooms.values())
        several = any(len(scan.skipped_from) > 1 for scan in self._scans.values())
        return _SHORT_WAIT_S if shared or several else _WAIT_S


def _nobody(_owner: str | None) -> bool:
    return False
