"""Attempts a delivery until it is accepted or given up, and records every attempt."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

from notifier.host_limits import HostLimits, NoSlot
from notifier.policy import (
    Decision,
    Delivered,
    GiveUp,
    Outcome,
    Retry,
    RetryPolicy,
    decide,
    gave_up_reason,
    remaining_s,
)
from notifier.posting import WebhookPoster
from notifier.records import DeliveryRecords
from schemas.times import from_epoch, now, to_epoch
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookFailure

log = logging.getLogger(__name__)

_UNANSWERED = frozenset({WebhookFailure.TIMEOUT, WebhookFailure.UNREACHABLE})


class DeliveryTask:
    """A delivery, and the asyncio task that works on it; its owner may cancel it.

    A cancelled one ends at once while it waits. While it posts, the attempt is finished and
    recorded first, as the receiver may have accepted it already.
    """

    def __init__(self, delivery: WebhookDelivery) -> None:
        self.delivery = delivery
        self.host = _host(delivery.url)
        self.cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._cancellable = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work`, which is on this delivery, in an asyncio task."""
        self._task = asyncio.create_task(work)
        return self._task

    def cancel(self) -> None:
        """Cancel the asyncio task if it waits; else have it end after the attempt under way."""
        self.cancelled = True
        if self._task is not None and self._cancellable:
            self._task.cancel()

    @contextmanager
    def cancellable(self) -> Iterator[None]:
        """Mark a section that waits: `cancel` ends this block, not the code after it."""
        self._cancellable = True
        try:
            yield
        except asyncio.CancelledError:
            if not self.cancelled:
                raise
        finally:
            self._cancellable = False

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Mark a part of a cancellable section that `cancel` leaves to end by itself."""
        self._cancellable = False
        yield
        self._cancellable = True


class Deliverer:
    """Makes the attempts of deliveries; many at once, on one event loop."""

    def __init__(
        self,
        poster: WebhookPoster,
        records: DeliveryRecords,
        limits: HostLimits,
        policy: RetryPolicy,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._poster = poster
        self._records = records
        self._limits = limits
        self._policy = policy
        self._jitter = jitter

    async def deliver(self, task: DeliveryTask) -> bool:
        """Attempt a held delivery; return True once it was accepted or given up, and recorded.

        False: it was cancelled, no slot was free in time, or the next attempt is due later than
        `hold_s` from now. The caller must requeue it, or it is lost.
        """
        try:
            with task.cancellable(), suppress(NoSlot):
                return await self._attempts(task)
            return False
        except Exception as error:
            # Guarantee 7: a defect of ours may not repeat the message for ever; it is given up.
            log.exception("the webhook of job %s broke the notifier", task.delivery.job_id)
            await self._records.give_up(task.delivery, f"internal error: {type(error).__name__}")
            return True

    async def requeue(self, task: DeliveryTask) -> None:
        """Write the delivery to `webhooks.retry`, or give it up if it has waited there too long."""
        task.delivery = task.delivery.evolve(since=task.delivery.since or now())
        reason = gave_up_reason(*self._waited(task), self._policy)
        if reason is None:
            await self._records.requeue(task.delivery)
            return
        log.warning("the webhook of job %s is given up: %s", task.delivery.job_id, reason)
        await self._records.give_up(task.delivery, reason)

    def remaining_s(self, task: DeliveryTask) -> float:
        """Return the seconds until `requeue` may give the delivery up."""
        return remaining_s(*self._waited(task), self._policy)

    def _waited(self, task: DeliveryTask) -> tuple[float, float]:
        """Return the seconds since it was first requeued, and since its host answered."""
        since = task.delivery.since
        waited_s = time.time() - to_epoch(since) if since is not None else 0.0
        return waited_s, self._limits.silent_s(task.host)

    async def _attempts(self, task: DeliveryTask) -> bool:
        while not task.cancelled:
            decision = await self._attempt(task)
            if not isinstance(decision, Retry):
                return True
            if decision.delay_s > self._policy.hold_s:
                due_at = from_epoch(time.time() + decision.delay_s)
                task.delivery = task.delivery.evolve(due_at=due_at)
                return False
            if not task.cancelled:
                await asyncio.sleep(decision.delay_s)
        return False

    async def _attempt(self, task: DeliveryTask) -> Decision:
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self._limits.slot(task.host))
            with task.uninterrupted():
                at, clock = time.time(), time.monotonic()
                outcome = await self._poster.post(task.delivery)
                took_s = time.monotonic() - clock
                # The slot is free for others while this attempt is recorded.
                await slot.aclose()
                self._limits.record_attempt(task.host, took_s, outcome.failure not in _UNANSWERED)
                task.delivery = task.delivery.evolve(attempts=task.delivery.attempts + 1)
                decision = decide(outcome, task.delivery.attempts, self._policy, self._jitter)
                record = _record(task.delivery, outcome, decision, at, took_s)
                # Guarantee 7: on record before the message is done, and its offset committed.
                await self._records.attempted(record)
                if isinstance(decision, GiveUp):
                    await self._records.give_up(task.delivery, decision.reason)
                _log(record, decision)
                return decision


def _record(
    delivery: WebhookDelivery, outcome: Outcome, decision: Decision, at: float, took_s: float
) -> WebhookAttempt:
    next_at = None
    if isinstance(decision, Retry):
        next_at = from_epoch(at + took_s + decision.delay_s)
    return WebhookAttempt(
        job_id=delivery.job_id,
        delivery_id=delivery.delivery_id,
        url=delivery.url,
        attempt=delivery.attempts,
        at=from_epoch(at),
        duration_ms=round(took_s * 1000, 1),
        status=outcome.status,
        response=outcome.response,
        failure=outcome.failure,
        message=outcome.message,
        next_at=next_at,
    )


def _log(record: WebhookAttempt, decision: Decision) -> None:
    fields = {"job_id": record.job_id, "delivery_id": record.delivery_id, "status": record.status}
    match decision:
        case Delivered():
            log.info("the webhook of job %s was delivered", record.job_id, extra=fields)
        case Retry(delay_s):
            log.info(
                "the webhook of job %s is tried again in %.1f s: %s",
                record.job_id,
                delay_s,
                record.message,
                extra=fields,
            )
        case GiveUp(reason):
            log.warning(
                "the webhook of job %s is given up: %s", record.job_id, reason, extra=fields
            )


def _host(url: str) -> str:
    """Return the host and port that limits count by; the guard refuses a malformed URL later."""
    return url.partition("//")[2].partition("/")[0].rpartition("@")[2].lower()
