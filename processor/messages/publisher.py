"""Sends to Kafka whose delivery decides the ack: delivered, then acked; failed, then crashed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from processor.messages.admission import Admission, AdmittedMessage
from schemas.cloudevents import Encoded

log = logging.getLogger(__name__)

Delivery = asyncio.Future[Any]


@dataclass(frozen=True)
class Topics:
    """Full names of the topics that are written to beside the priorities' own."""

    events: str
    retry: str
    dead_letter: str
    changelog: str
    results: str


class Publisher:
    """Buffers sends in the Faust producer and acks entries by delivery callbacks.

    Awaiting Faust's `topic.send()` only buffers; a crash after it loses the message. So every
    send gives a second future, and an entry is acked when all of its futures are delivered. The
    agent does not wait for them: sends of many entries are under way at once.
    """

    def __init__(
        self,
        producer: Callable[[], Any],
        admission: Admission,
        crash: Callable[[BaseException], Any],
    ) -> None:
        self._producer = producer
        self._admission = admission
        self._crash = crash
        self._crashes: set[asyncio.Future[Any]] = set()
        # Partition -> newest acknowledged offset, of the topic that is the table's changelog.
        self.changelog: str | None = None
        self.changelog_offsets: dict[int, int] = {}

    async def send(
        self, topic: str, key: bytes | None, message: Encoded, partition: int | None
    ) -> Delivery:
        """Buffer a message; the future ends when all replicas have it.

        Pass the partition where it is known: aiokafka's murmur2 is Python.
        """
        return await self._producer().send(
            topic, key, message.value, partition, None, message.headers
        )

    async def tombstone(self, topic: str, key: bytes, partition: int) -> Delivery:
        """Buffer a deletion on a compacted topic."""
        return await self._producer().send(topic, key, None, partition, None, None)

    async def finish(
        self, entry: AdmittedMessage, send: Awaitable[Delivery | list[Delivery]]
    ) -> None:
        """Do an entry's whole work, a send or several, and ack it when they are delivered.

        A send that fails crashes the worker, as a delivery that does.
        """
        self._admission.begin()
        try:
            sent = await send
        except BaseException as error:
            self._end((entry,))
            await self._crash(error)
            raise
        self.ack_when_delivered([entry], sent if isinstance(sent, list) else [sent])

    def ack_when_delivered(
        self, entries: Iterable[AdmittedMessage], deliveries: Iterable[Delivery]
    ) -> None:
        """End and ack the entries once every delivery is confirmed.

        A delivery that fails for good crashes the worker: its restart reads the entries again.
        """
        entries, deliveries = tuple(entries), tuple(deliveries)
        left = len(deliveries)

        def on_delivered(future: Delivery) -> None:
            nonlocal left
            if left <= 0:
                return
            failure = _failure(future)
            if failure is not None:
                left = 0
                self._end(entries)
                self._fail(failure)
                return
            self._note(future.result())
            left -= 1
            if not left:
                for entry in entries:
                    self._admission.done(entry)
                self._end(entries)

        if not deliveries:
            for entry in entries:
                self._admission.done(entry)
            self._end(entries)
        for delivery in deliveries:
            delivery.add_done_callback(on_delivered)

    def _end(self, entries: tuple[AdmittedMessage, ...]) -> None:
        for _ in entries:
            self._admission.end()

    def _note(self, metadata: Any) -> None:
        if metadata.topic == self.changelog:
            self.changelog_offsets[metadata.partition] = metadata.offset

    def _fail(self, failure: BaseException) -> None:
        log.error("a message was not delivered, so this worker restarts: %r", failure)
        crash = asyncio.ensure_future(self._crash(failure))
        self._crashes.add(crash)
        crash.add_done_callback(self._crashes.discard)


def _failure(future: Delivery) -> BaseException | None:
    if future.cancelled():
        return RuntimeError("the send was cancelled")
    return future.exception()
