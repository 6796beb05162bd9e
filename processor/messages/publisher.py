"""Publishes what follows from a message, and acks the message when all of that is delivered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from processor.messages.admission import Admission, AdmittedMessage
from processor.messages.dead_letter import MAX_REASON_CHARS, failed_by, letter_of
from processor.messages.fact_backlog import FactBacklog
from processor.messages.topic_names import TopicNames
from schemas import cloudevents
from schemas.cloudevents import Encoded
from schemas.events import AnyEvent, ItemQueued, JobFinished
from schemas.jobs import Priority, item_key

log = logging.getLogger(__name__)

# Ends when all replicas have the message; its result has topic, partition and offset.
Delivery = asyncio.Future[Any]


class Producer(Protocol):
    """The producer as Faust has it: a send gives a delivery once the message is buffered."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
    ) -> Awaitable[Delivery]: ...


class Publisher:
    """Owns the topics' names and the source of events; publishes, and settles messages.

    A send that is awaited is only buffered, so every method that publishes returns a delivery. A
    message is acked when the deliveries of all that follows from it have ended: guarantee 1, link
    3 for items, links 4 and 5 for facts. Nobody waits for them: many are in flight at once.

    A send or a delivery that fails for good crashes the worker. Its restart reads again every
    message that was not acked.
    """

    def __init__(
        self,
        producer: Producer,
        admission: Admission,
        topics: TopicNames,
        source: str,
        crash: Callable[[BaseException], Awaitable[Any]],
    ) -> None:
        """
        Args:
            source: CloudEvents source of all events, the worker's name.
            crash: stops the worker with an error.
        """
        self.topics = topics
        self.source = source
        self._producer = producer
        self._admission = admission
        self._crash = crash
        self._crashes: set[asyncio.Future[Any]] = set()
        self._changelog_offsets: dict[int, int] = {}
        self.fact_backlog = FactBacklog(admission, topics.events)

    async def event(self, event: AnyEvent, partition: int | None = None) -> Delivery:
        """Publish an event of a job on `jobs.events`, in the partition of its job.

        Args:
            partition: that partition, where it is known: aiokafka computes the hash in Python.
        """
        encoded = cloudevents.encode(event, self.source)
        return await self._send(self.topics.events, event.job_id.encode(), encoded, partition)

    async def encoded_event(
        self, job_id: str, event: Encoded, partition: int | None = None
    ) -> Delivery:
        """Publish an event that is encoded already, as `event` does."""
        return await self._send(self.topics.events, job_id.encode(), event, partition)

    async def item(self, item: ItemQueued, topic: str) -> Delivery:
        """Queue an item of a batch on a priority topic."""
        encoded = cloudevents.encode(item, self.source)
        return await self._send(topic, _key_of(item), encoded, None)

    async def retry(self, item: ItemQueued, partition: int) -> Delivery:
        """Queue an item's next attempt on `jobs.retry`, until it is due."""
        encoded = cloudevents.encode(item, self.source)
        return await self._send(self.topics.retry, _key_of(item), encoded, partition)

    async def requeue(self, admitted: AdmittedMessage, priority: Priority) -> Delivery:
        """Send a message of `jobs.retry` unchanged to its priority topic."""
        message = admitted.message
        encoded = Encoded(message.value, list(message.headers))
        topic = self.topics.priorities[priority]
        return await self._send(topic, message.key, encoded, admitted.tp.partition)

    async def state(self, key: bytes, record: Encoded, partition: int) -> Delivery:
        """Publish a record of the table on `jobs.state`, its changelog."""
        return await self._send(self.topics.state, key, record, partition)

    async def tombstone(self, key: bytes, partition: int) -> Delivery:
        """Publish the deletion of a record of the table."""
        return await self._producer.send(self.topics.state, key, None, partition, None, None)

    async def finished(self, event: JobFinished, partition: int) -> Delivery:
        """Publish a job's terminal event on `jobs.results`."""
        encoded = cloudevents.encode(event, self.source)
        return await self._send(self.topics.results, event.job_id.encode(), encoded, partition)

    async def heartbeat(self, worker_id: str, value: bytes) -> Delivery:
        """Publish a worker's heartbeat."""
        return await self._send(self.topics.heartbeats, worker_id.encode(), Encoded(value, []))

    async def dead_letter(self, admitted: AdmittedMessage, reason: str) -> Delivery:
        """Send a message and the reason to `jobs.dead-letter` (guarantee 5)."""
        where = f"{admitted.tp.topic}-{admitted.tp.partition}@{admitted.message.offset}"
        log.error("%s: %s", where, reason[:MAX_REASON_CHARS])
        key, letter = letter_of(admitted, reason)
        return await self._send(self.topics.dead_letter, key, letter)

    async def reject(
        self, admitted: AdmittedMessage, reason: str, *, tried: bool = False
    ) -> list[Delivery]:
        """Dead-letter a message, and fail the item that waits for it (guarantee 5).

        Args:
            tried: the message was decoded and run. One that was not decoded may be anybody's: it
                fails only an item of which nothing else is known, see ItemFailed.
        """
        deliveries = [await self.dead_letter(admitted, reason)]
        failed = failed_by(admitted.message, reason)
        if failed is not None:
            # Without a partition: others may have put the message on any, the job has its own.
            deliveries.append(await self.event(failed.evolve(unreadable=not tried)))
        return deliveries

    def _send(
        self, topic: str, key: bytes | None, message: Encoded, partition: int | None = None
    ) -> Awaitable[Delivery]:
        return self._producer.send(topic, key, message.value, partition, None, message.headers)

    async def process(
        self, admitted: AdmittedMessage, work: Awaitable[Sequence[Delivery] | None]
    ) -> None:
        """Await a message's work, then settle the message by the deliveries that it gives.

        Work that gives None has kept the message, to settle it later.

        Raises:
            BaseException: whatever the work raised, after the worker was crashed with it.
        """
        self._admission.begin()
        await self.finish((admitted,), work)

    async def finish(
        self, messages: Sequence[AdmittedMessage], work: Awaitable[Sequence[Delivery] | None]
    ) -> None:
        """Await the last work of messages whose processing has begun, then settle them.

        Raises:
            BaseException: as `process`.
        """
        try:
            deliveries = await work
        except BaseException as error:
            # Its outcome is not in the log: the restarted worker reads the messages again.
            self._end(messages)
            await self._crash(error)
            raise
        if deliveries is not None:
            self.settle(messages, deliveries)

    def settle(self, messages: Sequence[AdmittedMessage], deliveries: Sequence[Delivery]) -> None:
        """Ack the messages once every delivery is confirmed; crash when one fails for good."""
        left = len(deliveries)

        def on_delivered(delivery: Delivery) -> None:
            nonlocal left
            if left <= 0:
                return
            failure = _failure(delivery)
            if failure is not None:
                left = 0
                self._end(messages)
                self._crash_soon(failure)
                return
            self._note_offset(delivery.result())
            left -= 1
            if not left:
                self._ack(messages)

        if not deliveries:
            self._ack(messages)
        for delivery in deliveries:
            delivery.add_done_callback(on_delivered)

    def take_changelog_offsets(self) -> dict[int, int]:
        """Return the newest delivered offset of each partition of `jobs.state`, and reset them.

        Partitions with no delivery since the last call are left out.
        """
        taken, self._changelog_offsets = self._changelog_offsets, {}
        return taken

    def _ack(self, messages: Sequence[AdmittedMessage]) -> None:
        for admitted in messages:
            self._admission.done(admitted)
        self._end(messages)

    def _end(self, messages: Sequence[AdmittedMessage]) -> None:
        for _ in messages:
            self._admission.end()

    def _note_offset(self, metadata: Any) -> None:
        if metadata.topic == self.topics.state:
            self._changelog_offsets[metadata.partition] = metadata.offset
        elif metadata.topic == self.topics.events:
            self.fact_backlog.delivered(metadata.partition, metadata.offset)

    def _crash_soon(self, failure: BaseException) -> None:
        log.error("a message was not delivered, so this worker restarts: %r", failure)
        crash = asyncio.ensure_future(self._crash(failure))
        self._crashes.add(crash)
        crash.add_done_callback(self._crashes.discard)


def _key_of(item: ItemQueued) -> bytes:
    return item_key(item.job_id, item.index, item.job.total).encode()


def _failure(delivery: Delivery) -> BaseException | None:
    if delivery.cancelled():
        return RuntimeError("the send was cancelled")
    return delivery.exception()
