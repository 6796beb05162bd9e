"""Reads `jobs.results`, has webhooks delivered, commits what is done.

1. A message is committed only when its webhook was accepted or given up, and that is on record.
2. Messages are taken while others are under way, up to a bound; there, reading waits.
3. When a partition moves to another process, what is not being posted just then is left to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
from confluent_kafka import Message
from standardwebhooks import Webhook

from imagemill.addresses import AddressPolicy
from imagemill.health import serve_health
from imagemill.kafka import AsyncProducer, consumer_config, producer_config
from imagemill.offsets import OrderedCommits
from imagemill.settings import NotifierSettings
from imagemill.urlguard import UrlGuard, guarded_session
from notifier.deliver import Deliverer, Run
from notifier.ledger import Ledger
from notifier.payload import make_delivery
from notifier.reader import Partition, Reader
from notifier.schedule import RetryPolicy
from notifier.secret import webhook_secret
from notifier.slots import Slots
from schemas.codec import decode
from schemas.events import JobFinished
from schemas.topics import JOBS_RESULTS

log = logging.getLogger(__name__)

_COMMIT_INTERVAL_S = 0.5
# Partitions pause when there was no room for this long.
_PAUSE_AFTER_S = 1.0
# How long a partition that moves away waits for attempts under way.
_RELEASE_GRACE_S = 5.0


class Notifier:
    """One notifier process."""

    def __init__(self, settings: NotifierSettings) -> None:
        """Raises ValueError when a setting is wrong, OSError when the secret cannot be kept."""
        self._settings = settings
        self._guard = UrlGuard(AddressPolicy.parse(settings.url_allow))
        self._webhook = Webhook(webhook_secret(settings))
        self._producer = AsyncProducer(producer_config(settings))
        self._ledger = Ledger(self._producer, settings)
        self._commits: OrderedCommits[Partition] = OrderedCommits()
        self._runs: defaultdict[Partition, set[Run]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()

    def stop(self) -> None:
        """Makes `run` end, once attempts under way are finished and on record."""
        self._stopping.set()
        self._progress.set()

    async def run(self) -> None:
        """Delivers until `stop`.

        Raises:
            KafkaException: the consumer cannot go on.
            OSError: the health port is taken.
        """
        settings = self._settings
        reader = Reader(
            consumer_config(settings, "notifier"),
            [settings.topic(JOBS_RESULTS.name)],
            self._release,
        )
        health = await serve_health(
            settings.host, settings.notifier_port, lambda: self._report(reader)
        )
        try:
            async with self._session() as session:
                self._deliverer = self._make_deliverer(session)
                try:
                    await self._read(reader)
                finally:
                    await self._finish()
                    await reader.close()
        finally:
            await self._producer.close()
            await health.cleanup()

    def _session(self) -> aiohttp.ClientSession:
        return guarded_session(
            self._guard,
            limit=self._settings.webhook_concurrency,
            timeout=aiohttp.ClientTimeout(total=self._settings.webhook_timeout_s),
            # Receivers are strangers to each other, and may not make us unpack their answers.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    def _make_deliverer(self, session: aiohttp.ClientSession) -> Deliverer:
        settings = self._settings
        return Deliverer(
            session,
            self._guard,
            self._webhook,
            self._ledger,
            Slots(settings.webhook_concurrency, settings.webhook_per_host),
            RetryPolicy(
                settings.webhook_attempts,
                settings.webhook_retry_base_s,
                settings.webhook_retry_max_s,
            ),
        )

    async def _read(self, reader: Reader) -> None:
        commit_at = 0.0
        while not self._stopping.is_set():
            # Pausing throws away what was fetched ahead: a short wait for room spares it.
            await self._wait_for_room(_PAUSE_AFTER_S)
            for message in await reader.poll(self._room()):
                self._take(message)
            if time.monotonic() >= commit_at:
                reader.commit(self._commits.take())
                commit_at = time.monotonic() + _COMMIT_INTERVAL_S

    def _room(self) -> int:
        return self._settings.webhook_backlog - len(self._commits)

    async def _wait_for_room(self, longest_s: float) -> None:
        end = time.monotonic() + longest_s
        while self._room() <= 0 and (left := end - time.monotonic()) > 0:
            self._progress.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), left)

    def _done(self, partition: Partition, offset: int) -> None:
        self._commits.done(partition, offset)
        self._progress.set()

    def _take(self, message: Message) -> None:
        partition, offset = (message.topic(), message.partition()), message.offset()
        try:
            self._commits.opened(partition, offset)
        except ValueError:
            # The topic was made anew, or the log cut: what we knew of it is void.
            log.warning("%s-%d begins again at offset %d", *partition, offset)
            self._commits.drop(partition)
            self._commits.opened(partition, offset)
        try:
            event = decode(message.headers(), message.value())
            delivery = make_delivery(event) if isinstance(event, JobFinished) else None
        except ValueError as error:
            self._spawn(self._set_aside(partition, message, str(error)))
            return
        if delivery is None:
            self._done(partition, offset)
            return
        run = Run(delivery)
        self._runs[partition].add(run)
        self._spawn(self._deliver(partition, offset, run))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, partition: Partition, offset: int, run: Run) -> None:
        try:
            finished = await self._deliverer.deliver(run)
        except Exception as error:
            # A defect of ours may not stop the partition for ever: the delivery is set aside.
            log.exception("the webhook of job %s broke the notifier", run.delivery.job_id)
            reason = f"internal error: {type(error).__name__}"
            await self._ledger.gave_up(run.delivery.model_copy(update={"reason": reason}))
            finished = True
        finally:
            if runs := self._runs.get(partition):
                runs.discard(run)
        if finished:
            self._done(partition, offset)

    async def _set_aside(self, partition: Partition, message: Message, reason: str) -> None:
        """An undecodable message goes to the dead-letter topic, with the reason in its headers."""
        topic, number = partition
        log.error("%s-%d@%d: %s", topic, number, message.offset(), reason)
        await self._ledger.undecodable(
            message.key(),
            message.value(),
            message.headers() or [],
            [
                ("imagemill-source-topic", topic.encode()),
                ("imagemill-source-partition", str(number).encode()),
                ("imagemill-source-offset", str(message.offset()).encode()),
                ("imagemill-error", reason.encode()),
            ],
        )
        self._done(partition, message.offset())

    async def _release(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        runs = [run for partition in partitions for run in self._runs.pop(partition, ())]
        await self._call_off(runs, _RELEASE_GRACE_S)
        watermarks = {partition: self._commits.drop(partition) for partition in partitions}
        return {partition: at for partition, at in watermarks.items() if at is not None}

    async def _call_off(self, runs: list[Run], grace_s: float) -> None:
        for run in runs:
            run.call_off()
        tasks = [run.task for run in runs if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)

    async def _finish(self) -> None:
        """Ends what is under way: attempts are finished, waits are left to the next start."""
        runs = [run for runs in self._runs.values() for run in runs]
        await self._call_off(runs, self._settings.webhook_timeout_s + _RELEASE_GRACE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _report(self, reader: Reader) -> dict[str, Any]:
        return {
            "ready": reader.ready and not self._stopping.is_set(),
            "deliveries": sum(len(runs) for runs in self._runs.values()),
            "uncommitted": len(self._commits),
        }
