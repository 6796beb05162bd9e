"""Decide for the messages of each topic what to post, and when: at once, or when it is due."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from confluent_kafka import Message

from notifier.events.job_events import JobEvents
from notifier.kafka.records import DeliveryRecords
from notifier.posts.delivery import Deliverer, DeliveryTask
from notifier.posts.host_limits import HostLimits
from schemas.cloudevents import decode_webhook
from schemas.times import to_epoch
from schemas.webhooks import WebhookDelivery

# Bodies of the deliveries read from webhooks.retry; above, no more of it is read.
_MAX_RETRY_BYTES = 64 << 20
# The most that a delivery of webhooks.retry waits in memory for a host with no free slot; it then
# waits on a delay topic.
_MAX_BUSY_S = 60.0
# Part of the deliveries in memory that one host may have there.
_HOST_SHARE = 4
# Deliveries of one partition of a delay topic that wait in memory: enough to move many at once
# when they become due. Those behind them are due later.
_MAX_DELAYED = 32
_MAX_IN_FLIGHT = 10_000


class Handler(Protocol):
    """Handles the messages of one message loop."""

    partition_capacity: int | None
    """The most messages of one partition that may be in flight; None for any number."""

    def capacity(self, in_flight: int) -> int:
        """Return how many more messages may be read while so many are in flight."""

    def tasks(self, message: Message) -> list[DeliveryTask]:
        """Return the deliveries that a message asks for.

        Raises:
            ValueError: the message cannot be decoded.
        """

    async def run(self, task: DeliveryTask) -> None:
        """Work on a delivery until it is over, or written to a retry topic.

        Raises:
            CancelledError: neither happened, so that the message must be read again.
        """


class ResultHandler:
    """Posts the events of `jobs.results` and `jobs.state` at once.

    A delivery whose host holds all it may goes to `webhooks.retry`, out of the way of the others.
    """

    partition_capacity = None

    def __init__(
        self, deliverer: Deliverer, limits: HostLimits, events: JobEvents, backlog: int
    ) -> None:
        """`backlog` is the most deliveries held at once, posts of progress included."""
        self._deliverer = deliverer
        self._limits = limits
        self._events = events
        self._backlog = backlog

    def capacity(self, in_flight: int) -> int:
        """Return the free part of the backlog."""
        return self._backlog - len(self._events) - in_flight

    def tasks(self, message: Message) -> list[DeliveryTask]:
        """Return a job's end, or what is due of a running job; post its progress.

        Raises:
            ValueError: the message cannot be decoded.
        """
        return [DeliveryTask(delivery) for delivery in self._events.deliveries(message)]

    async def run(self, task: DeliveryTask) -> None:
        """Post the delivery now, or requeue it."""
        if not self._deliverer.is_ready(task):
            await self._deliverer.postpone(task)
            return
        if self._limits.try_hold(task.host):
            try:
                if await self._deliverer.deliver(task):
                    return
            finally:
                self._limits.release(task.host)
        await self._deliverer.requeue(task)


class RetryHandler:
    """Posts the deliveries of `webhooks.retry`, each when it is due and its host has capacity.

    They wait in memory meanwhile, for about a minute at most: one that must wait for longer goes to
    a delay topic. A host has a quarter of the memory at most, so that one that is slow does not
    keep the deliveries to others from being read.
    """

    partition_capacity = None

    def __init__(self, deliverer: Deliverer, limits: HostLimits, max_waiting: int) -> None:
        self._deliverer = deliverer
        self._limits = limits
        self._max_waiting = max_waiting
        self._max_of_host = max(1, max_waiting // _HOST_SHARE)
        self._of_host: Counter[str] = Counter()
        self._bytes = 0

    def capacity(self, in_flight: int) -> int:
        """Return how many more may wait; 0 while the waiting bodies exceed 64 MiB."""
        return 0 if self._bytes > _MAX_RETRY_BYTES else self._max_waiting - in_flight

    def tasks(self, message: Message) -> list[DeliveryTask]:
        """Return the delivery in the message.

        Raises:
            ValueError: the message cannot be decoded.
        """
        return [DeliveryTask(waiting_delivery(message))]

    async def run(self, task: DeliveryTask) -> None:
        """Wait until the delivery is due and may be held, and post it; requeue it after long."""
        if self._of_host[task.host] >= self._max_of_host and not task.is_asked_for:
            await self._deliverer.postpone(task)
            return
        size = len(task.delivery.body)
        self._bytes += size
        self._of_host[task.host] += 1
        try:
            await self._wait_and_post(task)
        finally:
            self._bytes -= size
            self._of_host[task.host] -= 1
            if not self._of_host[task.host]:
                del self._of_host[task.host]

    async def _wait_and_post(self, task: DeliveryTask) -> None:
        due_at = task.delivery.due_at
        due_s = to_epoch(due_at) - time.time() if due_at is not None else 0.0
        left_s = self._deliverer.remaining_s(task)
        if due_s <= _MAX_BUSY_S:
            with task.cancellable():
                await asyncio.sleep(min(due_s, left_s))
            if not task.cancelled and await self._post(task, min(_MAX_BUSY_S, left_s - due_s)):
                return
        await self._deliverer.requeue(task)

    async def _post(self, task: DeliveryTask, timeout_s: float) -> bool:
        """Post the delivery as soon as its host has capacity; False if it must be requeued."""
        end = time.monotonic() + timeout_s
        before = task.delivery
        while not task.cancelled and (left_s := end - time.monotonic()) > 0:
            if not self._deliverer.is_ready(task):
                break
            if not await self._hold(task, left_s):
                continue
            try:
                if await self._deliverer.deliver(task):
                    return True
            finally:
                self._limits.release(task.host)
            if task.delivery.due_at != before.due_at:
                return False
        if not task.cancelled:
            await self._deliverer.postpone(task)
            return True
        return False

    async def _hold(self, task: DeliveryTask, timeout_s: float) -> bool:
        """Wait until the delivery is held; False if it was cancelled or timed out."""
        with task.cancellable(), suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._limits.hold(task.host)
            return True
        return False


class DelayHandler:
    """Moves each delivery of a delay topic on, once it has waited there for the topic's delay."""

    partition_capacity = _MAX_DELAYED

    def __init__(self, records: DeliveryRecords, delays_s: Mapping[str, int]) -> None:
        """`delays_s` has the delay of each topic in seconds, by its full name."""
        self._records = records
        self._delays_s = delays_s

    def capacity(self, in_flight: int) -> int:
        """Return how many more may be in flight."""
        return _MAX_IN_FLIGHT - in_flight

    def tasks(self, message: Message) -> list[DeliveryTask]:
        """Return the delivery in the message, with the end of its wait.

        Raises:
            ValueError: the message cannot be decoded.
        """
        delivery = waiting_delivery(message)
        _, milliseconds = message.timestamp()
        topic = message.topic()
        assert topic is not None
        end = milliseconds / 1000 + self._delays_s[topic]
        if delivery.due_at is not None:
            end = min(end, to_epoch(delivery.due_at))
        return [DeliveryTask(delivery, waits_until=end)]

    async def run(self, task: DeliveryTask) -> None:
        """Wait, and write the delivery to the topic that fits the rest of its time.

        Raises:
            CancelledError: its partition moves to another process, which waits in its stead.
        """
        with task.cancellable():
            await asyncio.sleep(task.waits_until - time.time())
        if task.cancelled:
            raise asyncio.CancelledError
        await self._records.requeue(task.delivery)


def waiting_delivery(message: Message) -> WebhookDelivery:
    """Return the delivery in a message of a retry topic.

    Raises:
        ValueError: the message is none.
    """
    delivery = decode_webhook(message.headers(), message.value())
    if not isinstance(delivery, WebhookDelivery):
        raise ValueError(f"a {delivery.TYPE} is no delivery")
    return delivery
