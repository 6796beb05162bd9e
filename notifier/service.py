"""The notifier process: its parts, their lifetimes, and its health.

Two message loops share the parts that post and record:

- `jobs.results` and `jobs.state`: what a job's webhook asks for is posted at once. If its host is
  busy, it is requeued on `webhooks.retry`, so that no other host's deliveries wait behind it.
- `webhooks.retry`: many deliveries wait in memory until they are due and their host has capacity.

Guarantee 7, and guarantee 1, link 6: an offset is committed only when the webhooks of all messages
before it were accepted, given up or requeued, and that is on record.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from standardwebhooks import Webhook as Signer

from imagemill.kafka.config import consumer_config, producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.net.addresses import AddressPolicy
from imagemill.net.guard import UrlGuard, guarded_session
from imagemill.process.health import serve_health
from imagemill.settings import NotifierSettings
from notifier.delivery import Deliverer
from notifier.handlers import Handler, ResultHandler, RetryHandler
from notifier.host_limits import HostLimits
from notifier.message_loop import MessageLoop
from notifier.policy import RetryPolicy
from notifier.posting import WebhookPoster
from notifier.progress import ProgressPosts
from notifier.records import DeliveryRecords
from notifier.secret import webhook_secret
from schemas.topics import JOBS_RESULTS, JOBS_STATE, WEBHOOKS_RETRY, Topic

# A stopping process waits this long for an attempt under way, beyond the attempt's own timeout.
_STOP_GRACE_S = 5.0
# Deliveries on webhooks.retry wait anyway, so it is fetched seldom, and little of it ahead.
_RETRY_FETCH = {"fetch.wait.max.ms": 500, "queued.min.messages": 1000}


class Notifier:
    """One notifier process."""

    def __init__(self, settings: NotifierSettings) -> None:
        """Build the parts, on the running event loop.

        Raises:
            ValueError: a setting is wrong.
            OSError: the secret cannot be stored.
        """
        self._settings = settings
        guard = UrlGuard(AddressPolicy.parse(settings.url_allow))
        signer = Signer(webhook_secret(settings))
        self._producer = AsyncProducer(producer_config(settings))
        self._records = DeliveryRecords(self._producer, settings)
        self._session = _session(settings, guard)
        limits = _host_limits(settings)
        poster = WebhookPoster(self._session, guard, signer)
        deliverer = Deliverer(poster, self._records, limits, _retry_policy(settings))
        self._progress = ProgressPosts(limits, deliverer)
        results = ResultHandler(
            deliverer,
            limits,
            self._progress,
            settings.topic(JOBS_STATE.name),
            settings.webhook_backlog,
        )
        retries = RetryHandler(deliverer, limits, settings.webhook_waiting)
        self._loops = (
            self._loop(results, "notifier", JOBS_RESULTS, JOBS_STATE),
            self._loop(retries, "notifier-retry", WEBHOOKS_RETRY, **_RETRY_FETCH),
        )
        self._stopping = False

    def stop(self) -> None:
        """Make `run` return, once attempts under way are finished and recorded."""
        self._stopping = True
        for loop in self._loops:
            loop.stop()

    async def run(self) -> None:
        """Deliver until `stop`.

        Raises:
            KafkaException: a consumer cannot go on.
            OSError: the health port is taken.
        """
        settings = self._settings
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self._producer.close)
            closing.push_async_callback(self._session.close)
            # Closed in every case: a process cannot exit while a consumer is open.
            closing.push_async_callback(self._end_work)
            health = await serve_health(settings.host, settings.notifier_port, self._report)
            closing.push_async_callback(health.cleanup)
            await self._read()

    def _loop(self, handler: Handler, group: str, *topics: Topic, **fetch: int) -> MessageLoop:
        settings = self._settings
        return MessageLoop(
            consumer_config(settings, group) | fetch,
            [settings.topic(topic.name) for topic in topics],
            handler,
            self._records,
            settings.webhook_repeats,
        )

    async def _read(self) -> None:
        """Run both loops until `stop`, or until one fails: then neither goes on."""
        reading = [asyncio.create_task(loop.run()) for loop in self._loops]
        await asyncio.wait(reading, return_when=asyncio.FIRST_EXCEPTION)
        self.stop()
        await asyncio.gather(*reading)

    async def _end_work(self) -> None:
        grace_s = self._settings.webhook_timeout_s + _STOP_GRACE_S
        await asyncio.gather(
            self._progress.close(grace_s), *(loop.close(grace_s) for loop in self._loops)
        )

    def _report(self) -> dict[str, Any]:
        return {
            "ready": all(loop.ready for loop in self._loops) and not self._stopping,
            "deliveries": len(self._progress) + sum(loop.deliveries for loop in self._loops),
            "uncommitted": sum(loop.behind for loop in self._loops),
        }


def _session(settings: NotifierSettings, guard: UrlGuard) -> aiohttp.ClientSession:
    return guarded_session(
        guard,
        limit=settings.webhook_concurrency,
        timeout=aiohttp.ClientTimeout(total=settings.webhook_timeout_s),
    )


def _host_limits(settings: NotifierSettings) -> HostLimits:
    return HostLimits(
        settings.webhook_concurrency,
        settings.webhook_per_host,
        settings.webhook_backlog,
        settings.webhook_hold_s,
    )


def _retry_policy(settings: NotifierSettings) -> RetryPolicy:
    return RetryPolicy(
        attempts=settings.webhook_attempts,
        base_s=settings.webhook_retry_base_s,
        max_s=settings.webhook_retry_max_s,
        hold_s=settings.webhook_hold_s,
        busy_s=settings.webhook_turn_s,
        silent_s=settings.webhook_silent_s,
    )
