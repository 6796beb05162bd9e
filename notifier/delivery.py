"""Posts a delivery, signed, until it is accepted or given up, and records every attempt."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import aiohttp
from standardwebhooks import Webhook

from imagemill.net.errors import UrlBlocked
from imagemill.net.guard import UrlGuard
from notifier.host_limits import HostLimits, NoSlot
from notifier.policy import (
    Decision,
    Delivered,
    GiveUp,
    Outcome,
    Retry,
    RetryPolicy,
    decide,
    parse_retry_after,
)
from notifier.records import DeliveryRecords
from schemas.times import from_epoch
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookFailure

log = logging.getLogger(__name__)

_RESPONSE_BYTES = 500
_SILENCE = frozenset({WebhookFailure.TIMEOUT, WebhookFailure.UNREACHABLE})


class Run:
    """One delivery under way, which its owner may call off; `delivery` counts its attempts.

    Called off, it ends at once, unless it posts just then: that attempt is finished and recorded
    first, for the receiver may have accepted it.
    """

    def __init__(self, delivery: WebhookDelivery) -> None:
        self.delivery = delivery
        self.host = _host(delivery.url)
        self.called_off = False
        self.waits = False
        self.task: asyncio.Task[None] | None = None

    def call_off(self) -> None:
        """See the class."""
        self.called_off = True
        if self.task is not None and self.waits:
            self.task.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What may be called off is done in here; that ends the block, and nothing behind it."""
        self.waits = True
        try:
            yield
        except asyncio.CancelledError:
            if not self.called_off:
                raise
        finally:
            self.waits = False


class Deliverer:
    """Posts deliveries; many at once, in one event loop."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        guard: UrlGuard,
        webhook: Webhook,
        ledger: DeliveryRecords,
        slots: HostLimits,
        policy: RetryPolicy,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`session` is the guard's, with the time limit of an attempt; `webhook` signs."""
        self._session = session
        self._guard = guard
        self._webhook = webhook
        self._ledger = ledger
        self._slots = slots
        self._policy = policy
        self._jitter = jitter

    async def deliver(self, run: Run) -> bool:
        """Whether the delivery was accepted or given up.

        Else it was called off, its host was busy for too long, or its next try is not due for
        long: somebody must go on with it.
        """
        with run.waiting(), suppress(NoSlot):
            return await self._attempts(run)
        return False

    async def _attempts(self, run: Run) -> bool:
        while not run.called_off:
            decision = await self._attempt(run, run.delivery.attempts + 1)
            if not isinstance(decision, Retry):
                return True
            if decision.delay_s > self._policy.held_s:
                due_at = from_epoch(time.time() + decision.delay_s)
                run.delivery = run.delivery.evolve(due_at=due_at)
                return False
            if not run.called_off:
                await asyncio.sleep(decision.delay_s)
        return False

    async def _attempt(self, run: Run, attempt: int) -> Decision:
        delivery = run.delivery
        async with self._slots.of(run.host):
            run.waits = False
            began, clock = time.time(), time.monotonic()
            outcome = await self._post(delivery)
            took_s = time.monotonic() - clock
        self._slots.attempted(run.host, took_s, outcome.failure not in _SILENCE)
        decision = decide(outcome, attempt, self._policy, self._jitter)
        record = _record(delivery, attempt, outcome, decision, began, took_s)
        await self._ledger.attempted(record)
        run.delivery = delivery.evolve(attempts=attempt)
        if isinstance(decision, GiveUp):
            await self._ledger.gave_up(run.delivery, decision.reason)
        _tell(record, decision)
        run.waits = True
        return decision

    async def _post(self, delivery: WebhookDelivery) -> Outcome:
        try:
            # The very bytes that are signed, at a URL that is not quoted anew.
            url, headers = self._guard.parse(delivery.url), self._headers(delivery)
            async with self._session.post(
                url, data=delivery.body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                return await _outcome(answer)
        except UrlBlocked as error:
            return Outcome(WebhookFailure.BLOCKED, message=str(error))
        except TimeoutError:
            return Outcome(WebhookFailure.TIMEOUT, message="The receiver did not answer in time.")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(WebhookFailure.UNREACHABLE, message=_unreachable(error))

    def _headers(self, delivery: WebhookDelivery) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "user-agent": "imagemill",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(delivery.delivery_id, now, delivery.body),
        }


async def _outcome(answer: aiohttp.ClientResponse) -> Outcome:
    if 200 <= answer.status < 300:
        return Outcome(status=answer.status)
    try:
        response = (await answer.content.read(_RESPONSE_BYTES)).decode(errors="replace")
    except (TimeoutError, aiohttp.ClientError):
        # The status is what counts, and it is known.
        response = None
    hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    return Outcome(
        WebhookFailure.STATUS,
        status=answer.status,
        message=f"The receiver answered with status {answer.status}{hint}.",
        response=response,
        retry_after_s=parse_retry_after(answer.headers.get("Retry-After"), time.time()),
    )


def _unreachable(error: Exception) -> str:
    # The texts of aiohttp name addresses, which may be of a network behind the guard's setting.
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "The receiver's host name does not resolve."
        case aiohttp.ClientSSLError():
            return "The receiver's TLS certificate or handshake is not valid."
        case aiohttp.ClientConnectorError():
            return "The receiver cannot be connected to."
        case _:
            return "The receiver broke off the connection."


def _record(
    delivery: WebhookDelivery,
    attempt: int,
    outcome: Outcome,
    decision: Decision,
    began: float,
    took_s: float,
) -> WebhookAttempt:
    next_at = None
    if isinstance(decision, Retry):
        next_at = from_epoch(began + took_s + decision.delay_s)
    return WebhookAttempt(
        job_id=delivery.job_id,
        delivery_id=delivery.delivery_id,
        url=delivery.url,
        attempt=attempt,
        at=from_epoch(began),
        duration_ms=round(took_s * 1000, 1),
        status=outcome.status,
        response=outcome.response,
        failure=outcome.failure,
        message=outcome.message,
        next_at=next_at,
    )


def _tell(record: WebhookAttempt, decision: Decision) -> None:
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
    """What deliveries are counted by; a malformed URL is refused later, by the guard."""
    return url.partition("//")[2].partition("/")[0].rpartition("@")[2].lower()
