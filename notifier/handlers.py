"""Decide for the messages of each topic what to post, and when: at once, or when it is due."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Protocol

from confluent_kafka import Message

from notifier.bodies import deliveries_in
from notifier.delivery import Deliverer, DeliveryTask
from notifier.host_limits import HostLimits
from notifier.progress import ProgressPosts, running_state
from schemas.times import from_epoch, to_epoch
from schemas.webhooks import WebhookDelivery

# Bodies of the deliveries read from webhooks.retry; above, no more of it is read.
_MAX_RETRY_BYTES = 64 << 20


class Handler(Protocol):
    """Handles the messages of one message loop."""

    def capacity(self, in_flight: int) -> int:
        """Return how many more messages may be read while so many are in flight."""

    def deliveries(self, message: Message) -> list[WebhookDelivery]:
        """Return the deliveries that a message asks for.

        Raises:
            ValueError: the message cannot be decoded.
        """

    async def run(self, task: DeliveryTask) -> None:
        """Work on a delivery until it is over, or written to `webhooks.retry`."""


class ResultHandler:
    """Posts the events of `jobs.results` and `jobs.state` at once.

    A delivery whose host holds all it may goes to `webhooks.retry`, out of the way of the others.
    """

    def __init__(
        self,
        deliverer: Deliverer,
        limits: HostLimits,
        progress: ProgressPosts,
        states_topic: str,
        backlog: int,
    ) -> None:
        """`backlog` is the most deliveries held at once, posts of progress included."""
        self._deliverer = deliverer
        self._limits = limits
        self._progress = progress
        self._states_topic = states_topic
        self._backlog = backlog

    def capacity(self, in_flight: int) -> int:
        """Return the free part of the backlog."""
        return self._backlog - len(self._progress) - in_flight

    def deliveries(self, message: Message) -> list[WebhookDelivery]:
        """Return a job's end, or what is due of a running job; post its progress.

        Raises:
            ValueError: the message cannot be decoded.
        """
        if message.topic() != self._states_topic:
            return deliveries_in(message.headers(), message.value())
        state = running_state(message.value())
        _, milliseconds = message.timestamp()
        return self._progress.observe(state, from_epoch(milliseconds / 1000)) if state else []

    async def run(self, task: DeliveryTask) -> None:
        """Post the delivery now, or requeue it."""
        if self._limits.try_hold(task.host):
            try:
                if await self._deliverer.deliver(task):
                    return
            finally:
                self._limits.release(task.host)
        await self._deliverer.requeue(task)


class RetryHandler:
    """Posts the deliveries of `webhooks.retry`, each when it is due and its host has capacity.

    Many wait in memory meanwhile. One that has waited for long is written to the end of the topic
    again: its old offset can then be committed, so a crash repeats less of what was read after it.
    """

    def __init__(self, deliverer: Deliverer, limits: HostLimits, max_waiting: int) -> None:
        self._deliverer = deliverer
        self._limits = limits
        self._max_waiting = max_waiting
        self._bytes = 0

    def capacity(self, in_flight: int) -> int:
        """Return how many more may wait; 0 while the waiting bodies exceed 64 MiB."""
        return 0 if self._bytes > _MAX_RETRY_BYTES else self._max_waiting - in_flight

    def deliveries(self, message: Message) -> list[WebhookDelivery]:
        """Return the delivery in the message.

        Raises:
            ValueError: the message cannot be decoded.
        """
        return deliveries_in(message.headers(), message.value())

    async def run(self, task: DeliveryTask) -> None:
        """Wait until the delivery is due and may be held, and post it; requeue it after long."""
        size = len(task.delivery.body)
        self._bytes += size
        try:
            end = time.monotonic() + self._deliverer.remaining_s(task)
            while not task.cancelled and (left_s := end - time.monotonic()) > 0:
                if not await self._hold(task, left_s):
                    continue
                try:
                    if await self._deliverer.deliver(task):
                        return
                finally:
                    self._limits.release(task.host)
            await self._deliverer.requeue(task)
        finally:
            self._bytes -= size

    async def _hold(self, task: DeliveryTask, timeout_s: float) -> bool:
        """Wait until the delivery is due and held; False if it was cancelled or timed out."""
        due_at = task.delivery.due_at
        with task.cancellable(), suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if due_at is not None:
                    await asyncio.sleep(to_epoch(due_at) - time.time())
                await self._limits.hold(task.host)
            return True
        return False
