"""The notifier process: its parts, their lifetimes, and its health.

Five loops share the parts that post and record:

- `jobs.results` and `jobs.state`: what a job's webhook and its owner's endpoints ask for is posted
  at once. If the host is busy, it is requeued, so that no other host's deliveries wait behind it.
- `webhooks.retry`: deliveries wait in memory until they are due, within a minute, and their host
  has capacity.
- `webhooks.retry.1m` and the others: deliveries that are due later wait there, in the topic.
- `webhooks.commands`: replays and test events go to `webhooks.retry`.
- `webhooks.attempts`: endpoints that fail for days are found and disabled.

Guarantee 7, and guarantee 1, link 6: an offset is committed only when the webhooks of all messages
before it were accepted, given up or requeued, and that is on record.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from imagemill.kafka.config import consumer_config, producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.net.addresses import AddressPolicy
from imagemill.net.guard import UrlGuard, guarded_session
from imagemill.process.health import serve_health
from imagemill.settings import NotifierSettings
from imagemill.webhooks.sealing import open_sealer
from notifier.endpoints import Endpoints
from notifier.events.job_events import JobEvents
from notifier.events.progress import ProgressPosts
from notifier.kafka.record_reader import RecordReader
from notifier.kafka.records import DeliveryRecords
from notifier.kafka.table_reader import TableReader
from notifier.loops.commands import CommandHandler
from notifier.loops.endpoint_watch import EndpointWatch
from notifier.loops.handlers import DelayHandler, Handler, ResultHandler, RetryHandler
from notifier.loops.message_loop import MessageLoop
from notifier.loops.sequential_loop import MessageHandler, SequentialLoop
from notifier.posts.addresses import Addresses
from notifier.posts.breaker import Breaker
from notifier.posts.delivery import Deliverer
from notifier.posts.host_limits import HostLimits
from notifier.posts.policy import RetryPolicy
from notifier.posts.posting import WebhookPoster
from notifier.posts.secret import webhook_secret
from schemas.topics import (
    JOBS_RESULTS,
    JOBS_STATE,
    WEBHOOKS_ATTEMPTS,
    WEBHOOKS_COMMANDS,
    WEBHOOKS_DELAYS,
    WEBHOOKS_ENDPOINT_STATUS,
    WEBHOOKS_ENDPOINTS,
    WEBHOOKS_RETRY,
    Topic,
)

# The topics that every notifier reads whole.
_TABLES = (WEBHOOKS_ENDPOINTS.name, WEBHOOKS_ENDPOINT_STATUS.name)
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
            OSError: a secret cannot be stored.
        """
        self._settings = settings
        guard = UrlGuard(AddressPolicy.parse(settings.url_allow))
        sealer, secret = open_sealer(settings), webhook_secret(settings)
        endpoints = Endpoints(*map(settings.topic, _TABLES))
        self._producer = AsyncProducer(producer_config(settings))
        self._records = DeliveryRecords(self._producer, settings)
        self._session = _session(settings, guard)
        limits = _host_limits(settings)
        deliverer = Deliverer(
            WebhookPoster(self._session, guard, Addresses(endpoints, sealer, secret)),
            self._records,
            limits,
            Breaker(settings.webhook_probe_s),
            _retry_policy(settings),
        )
        self._progress = ProgressPosts(limits, deliverer, endpoints)
        events = JobEvents(endpoints, self._progress, settings.topic(JOBS_STATE.name))
        results = ResultHandler(deliverer, limits, events, settings.webhook_backlog)
        retries = RetryHandler(deliverer, limits, settings.webhook_waiting)
        self._posting = (
            self._loop(results, "notifier", JOBS_RESULTS, JOBS_STATE),
            self._loop(retries, "notifier-retry", WEBHOOKS_RETRY, **_RETRY_FETCH),
        )
        delays_s = {settings.topic(topic.name): delay for delay, topic in WEBHOOKS_DELAYS.items()}
        delays = DelayHandler(self._records, delays_s)
        self._delays = self._loop(
            delays, "notifier-delays", *WEBHOOKS_DELAYS.values(), **_RETRY_FETCH
        )
        self._table = TableReader(
            consumer_config(settings, "notifier-endpoints"),
            [settings.topic(name) for name in _TABLES],
            endpoints,
        )
        self._reader = RecordReader(consumer_config(settings, "notifier-endpoints"))
        self._commands = self._sequential(
            CommandHandler(endpoints, self._reader, self._records, settings),
            "notifier-commands",
            WEBHOOKS_COMMANDS,
        )
        self._watch = self._sequential(
            EndpointWatch(endpoints, self._records, settings.webhook_disable_after_s),
            "notifier-watch",
            WEBHOOKS_ATTEMPTS,
        )
        self._loaded = False
        self._stopping = False

    def stop(self) -> None:
        """Make `run` return, once attempts under way are finished and recorded."""
        self._stopping = True
        for part in (*self._posting, self._delays, self._commands, self._watch, self._table):
            part.stop()

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

    def _sequential(self, handler: MessageHandler, group: str, topic: Topic) -> SequentialLoop:
        settings = self._settings
        config = consumer_config(settings, group) | _RETRY_FETCH
        return SequentialLoop(config, [settings.topic(topic.name)], handler, self._records)

    async def _read(self) -> None:
        """Run all loops until `stop`, or until one fails: then none goes on.

        The endpoints are read first: a job's end that is read before them would reach none.
        """
        await self._table.load()
        self._loaded = True
        parts = (*self._posting, self._delays, self._commands, self._watch, self._table)
        reading = [asyncio.create_task(part.run()) for part in parts]
        await asyncio.wait(reading, return_when=asyncio.FIRST_EXCEPTION)
        self.stop()
        await asyncio.gather(*reading)

    async def _end_work(self) -> None:
        grace_s = self._settings.webhook_timeout_s + _STOP_GRACE_S
        await asyncio.gather(
            self._progress.close(grace_s),
            *(loop.close(grace_s) for loop in (*self._posting, self._delays)),
            *(part.close() for part in (self._commands, self._watch, self._table)),
        )
        await self._reader.close()

    def _report(self) -> dict[str, Any]:
        reading = self._loaded and all(loop.ready for loop in self._posting)
        return {
            "ready": reading and not self._stopping,
            "deliveries": len(self._progress) + sum(loop.deliveries for loop in self._posting),
            "uncommitted": sum(loop.behind for loop in self._posting),
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
        delays_s=settings.webhook_delays_s,
        max_s=settings.webhook_retry_max_s,
        hold_s=settings.webhook_hold_s,
        busy_s=settings.webhook_turn_s,
        silent_s=settings.webhook_silent_s,
    )
