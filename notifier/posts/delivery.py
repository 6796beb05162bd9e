"""Attempts a delivery until it is accepted or given up, and records every attempt."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any

from notifier.kafka.records import DeliveryRecords
from notifier.posts.addresses import NotPosted
from notifier.posts.breaker import Breaker
from notifier.posts.host_limits import HostLimits, NoSlot
from notifier.posts.policy import (
    Decision,
    Delivered,
    Drop,
    GiveUp,
    Outcome,
    Retry,
    RetryPolicy,
    decide,
    decide_once,
    gave_up_reason,
    postpone_s,
    remaining_s,
)
from notifier.posts.posting import WebhookPoster
from schemas.times import from_epoch, now, to_epoch
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookFailure, WebhookTrigger

log = logging.getLogger(__name__)

_UNANSWERED = frozenset({WebhookFailure.TIMEOUT, WebhookFailure.UNREACHABLE})
# Nothing was sent, so the outcome says nothing about the receiver.
_NOT_TRIED = frozenset({WebhookFailure.BLOCKED, WebhookFailure.NOT_SIGNED})


class _NotReady(Exception):
    """The receiver fails time after time, and its next probe is not due."""


class DeliveryTask:
    """A delivery, and the asyncio task that works on it; its owner may cancel it.

    A cancelled one ends at once while it waits. While it posts, the attempt is finished and
    recorded first, as the receiver may have accepted it already.
    """

    def __init__(self, delivery: WebhookDelivery, waits_until: float = 0.0) -> None:
        """`waits_until` is the Unix time that its record on a delay topic waits for."""
        self.delivery = delivery
        self.waits_until = waits_until
        self.host = _host(delivery.url)
        self.cancelled = False
        self._task: asyncio.Task[None] | None = None
        self._cancellable = False

    @property
    def receivers(self) -> tuple[str, ...]:
        """The host, and the endpoint if it goes to one: each has a circuit of the breaker."""
        endpoint_id = self.delivery.endpoint_id
        return (self.host,) if endpoint_id is None else (self.host, endpoint_id)

    @property
    def is_asked_for(self) -> bool:
        """True for a replay or a test event: one attempt, also while the circuit is open."""
        return self.delivery.trigger != WebhookTrigger.EVENT

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
        breaker: Breaker,
        policy: RetryPolicy,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._poster = poster
        self._records = records
        self._limits = limits
        self._breaker = breaker
        self._policy = policy
        self._jitter = jitter

    async def deliver(self, task: DeliveryTask) -> bool:
        """Attempt a held delivery; return True once it was accepted or given up, and recorded.

        False: it was cancelled, no slot was free in time, its receiver fails time after time, or
        the next attempt is due later than `hold_s` from now. The caller must requeue it, or it is
        lost.
        """
        try:
            with task.cancellable(), suppress(NoSlot, _NotReady):
                return await self._attempts(task)
            return False
        except NotPosted as error:
            await self._give_up(task, str(error))
            return True
        except Exception as error:
            # Guarantee 7: a defect of ours may not repeat the message for ever; it is given up.
            log.exception("the webhook of %s broke the notifier", task.delivery.subject)
            await self._give_up(task, f"internal error: {type(error).__name__}")
            return True

    async def requeue(self, task: DeliveryTask) -> None:
        """Write the delivery to a retry topic, or give it up if it has waited there too long."""
        task.delivery = task.delivery.evolve(since=task.delivery.since or now())
        reason = gave_up_reason(*self._waited(task), self._policy)
        if reason is None:
            await self._records.requeue(task.delivery)
            return
        await self._give_up(task, reason)

    async def postpone(self, task: DeliveryTask) -> None:
        """Requeue a delivery whose receiver is not ready, to be tried again after a delay.

        One that is not to be posted any more, as its endpoint is disabled or deleted, is given up.
        """
        try:
            task.delivery = self._poster.addressed(task.delivery)
        except NotPosted as error:
            await self._give_up(task, str(error))
            return
        self._postpone(task)
        await self.requeue(task)

    def is_ready(self, task: DeliveryTask) -> bool:
        """True unless the receiver fails time after time, and its next probe is not due."""
        return task.is_asked_for or self._breaker.wait_s(*task.receivers) == 0

    def remaining_s(self, task: DeliveryTask) -> float:
        """Return the seconds until `requeue` may give the delivery up."""
        return remaining_s(*self._waited(task), self._policy)

    def _postpone(self, task: DeliveryTask) -> None:
        before = task.delivery.postponed
        due_at = from_epoch(time.time() + postpone_s(before, self._jitter))
        task.delivery = task.delivery.evolve(due_at=due_at, postponed=before + 1)

    def _waited(self, task: DeliveryTask) -> tuple[float, float]:
        """Return the seconds since it was first requeued, and since its host answered."""
        since = task.delivery.since
        waited_s = time.time() - to_epoch(since) if since is not None else 0.0
        return waited_s, self._limits.silent_s(task.host)

    async def _give_up(self, task: DeliveryTask, reason: str) -> None:
        log.warning("the webhook of %s is given up: %s", task.delivery.subject, reason)
        # A replay is on record as it was given up before, or accepted; a test event is not kept.
        if not task.is_asked_for:
            await self._records.give_up(task.delivery, reason)

    async def _attempts(self, task: DeliveryTask) -> bool:
        while not task.cancelled:
            decision = await self._attempt(task)
            if not isinstance(decision, Retry):
                return True
            due_at = from_epoch(time.time() + decision.delay_s)
            task.delivery = task.delivery.evolve(due_at=due_at)
            if decision.delay_s > self._policy.hold_s:
                return False
            if not task.cancelled:
                await asyncio.sleep(decision.delay_s)
        return False

    async def _attempt(self, task: DeliveryTask) -> Decision:
        async with AsyncExitStack() as slot:
            await slot.enter_async_context(self._limits.slot(task.host))
            with task.uninterrupted():
                task.delivery = self._poster.addressed(task.delivery)
                self._check_circuit(task)
                at, clock = time.time(), time.monotonic()
                outcome = await self._poster.post(task.delivery)
                took_s = time.monotonic() - clock
                # The slot is free for others while this attempt is recorded.
                await slot.aclose()
                self._count(task, outcome, took_s)
                attempts = task.delivery.attempts + 1
                task.delivery = task.delivery.evolve(attempts=attempts, postponed=0)
                decision = self._decide(task, outcome)
                record = _record(task.delivery, outcome, decision, at, took_s)
                # Guarantee 7: on record before the message is done, and its offset committed.
                await self._records.attempted(record)
                if isinstance(decision, GiveUp):
                    await self._records.give_up(task.delivery, decision.reason)
                _log(record, decision)
                return decision

    def _check_circuit(self, task: DeliveryTask) -> None:
        """Raise _NotReady unless a post may go to the receiver now."""
        if not task.is_asked_for and not self._breaker.try_post(*task.receivers):
            self._postpone(task)
            raise _NotReady

    def _count(self, task: DeliveryTask, outcome: Outcome, took_s: float) -> None:
        """Adjust the host's limits, and the circuits of host and endpoint, to an attempt."""
        if outcome.failure in _NOT_TRIED:
            return
        answered = outcome.failure not in _UNANSWERED
        self._limits.record_attempt(task.host, took_s, answered)
        # Many receivers may share a host; an answer of one says nothing about the others.
        succeeded = dict(zip(task.receivers, (answered, outcome.failure is None), strict=False))
        for receiver, success in succeeded.items():
            if success:
                self._breaker.succeeded(receiver)
            else:
                self._breaker.failed(receiver)

    def _decide(self, task: DeliveryTask, outcome: Outcome) -> Decision:
        if task.is_asked_for:
            return decide_once(outcome)
        return decide(outcome, task.delivery.attempts, self._policy, self._jitter)


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
        endpoint_id=delivery.endpoint_id,
        owner=delivery.owner,
        event=delivery.event,
        trigger=delivery.trigger,
        attempt=delivery.attempts,
        at=from_epoch(at),
        duration_ms=round(took_s * 1000, 1),
        status=outcome.status,
        response=outcome.response,
        failure=outcome.failure,
        message=outcome.message,
        next_at=next_at,
        body=delivery.body if outcome.failure is None else None,
    )


def _log(record: WebhookAttempt, decision: Decision) -> None:
    fields = {"job_id": record.job_id, "delivery_id": record.delivery_id, "status": record.status}
    subject = record.subject
    match decision:
        case Delivered():
            log.info("the webhook of %s was delivered", subject, extra=fields)
        case Retry(delay_s):
            log.info(
                "the webhook of %s is tried again in %.1f s: %s",
                subject,
                delay_s,
                record.message,
                extra=fields,
            )
        case GiveUp(reason):
            log.warning("the webhook of %s is given up: %s", subject, reason, extra=fields)
        case Drop(reason):
            log.info("the %s of %s failed: %s", record.trigger, subject, reason, extra=fields)


def _host(url: str) -> str:
    """Return the host and port that limits count by; the guard refuses a malformed URL later."""
    return url.partition("//")[2].partition("/")[0].rpartition("@")[2].lower()
