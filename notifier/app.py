"""Reads how jobs run and end, has webhooks delivered, commits what is done.

1. A message is committed only when its webhook was accepted or given up, or waits on
   `webhooks.retry`, and that is on record.
2. Messages are taken while others are under way, up to a bound; there, reading waits.
3. A delivery whose host is busy waits on `webhooks.retry`, out of the way of other hosts'. That
   topic is read as well: what finds its host still busy goes to its end again.
4. When a partition moves to another process, what is not being posted just then waits there too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import aiohttp
from confluent_kafka import Message
from standardwebhooks import Webhook

from imagemill.addresses import AddressPolicy
from imagemill.health import serve_health
from imagemill.kafka import AsyncProducer, consumer_config, producer_config
from imagemill.settings import NotifierSettings
from imagemill.urlguard import UrlGuard, guarded_session
from notifier.deliver import Deliverer, Run
from notifier.ledger import Ledger
from notifier.news import News, running_state
from notifier.payload import delivery_in
from notifier.reader import Partition, Reader, place_of
from notifier.schedule import RetryPolicy, outstayed
from notifier.secret import webhook_secret
from notifier.slots import Slots
from schemas.times import from_epoch, now, to_epoch
from schemas.topics import JOBS_RESULTS, JOBS_STATE, WEBHOOKS_RETRY, Topic
from schemas.webhooks import WebhookDelivery

log = logging.getLogger(__name__)

_COMMIT_INTERVAL_S = 0.5
# Partitions pause when there was no room for this long.
_PAUSE_AFTER_S = 1.0
# How long a partition that moves away waits for attempts under way.
_RELEASE_GRACE_S = 5.0
# How long nothing is read of what waits, when it was not the turn of some of it: until another of
# it was delivered or given up, within these bounds.
_REST_S = 0.1
_LONGEST_REST_S = 1.0


class Notifier:
    """One notifier process."""

    def __init__(self, settings: NotifierSettings) -> None:
        """Raises ValueError when a setting is wrong, OSError when the secret cannot be kept."""
        self._settings = settings
        self._guard = UrlGuard(AddressPolicy.parse(settings.url_allow))
        self._webhook = Webhook(webhook_secret(settings))
        self._producer = AsyncProducer(producer_config(settings))
        self._ledger = Ledger(self._producer, settings)
        self._slots = Slots(
            settings.webhook_concurrency,
            settings.webhook_per_host,
            settings.webhook_backlog,
            settings.webhook_hold_s,
        )
        self._policy = RetryPolicy(
            settings.webhook_attempts,
            settings.webhook_retry_base_s,
            settings.webhook_retry_max_s,
            settings.webhook_hold_s,
            settings.webhook_turn_s,
            settings.webhook_silent_s,
        )
        self._news = News(self._slots, lambda run: self._deliverer.deliver(run))
        self._states = settings.topic(JOBS_STATE.name)
        self._runs: defaultdict[Partition, set[Run]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()
        self._turn = asyncio.Event()

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
        self._jobs = self._reader("notifier", JOBS_RESULTS, JOBS_STATE)
        # A little at a time, and in no hurry.
        unhurried = {"fetch.wait.max.ms": 500, "queued.min.messages": 1000}
        self._waiting = self._reader("notifier-retry", WEBHOOKS_RETRY, **unhurried)
        settings = self._settings
        health = await serve_health(settings.host, settings.notifier_port, self._report)
        try:
            async with self._session() as session:
                self._deliverer = self._make_deliverer(session)
                try:
                    await self._read_all()
                finally:
                    await self._finish()
                    for reader in self._readers:
                        await reader.close()
        finally:
            await self._producer.close()
            await health.cleanup()

    @property
    def _readers(self) -> tuple[Reader, Reader]:
        return self._jobs, self._waiting

    def _reader(self, group: str, *topics: Topic, **config: int) -> Reader:
        settings = self._settings
        names = [settings.topic(topic.name) for topic in topics]
        return Reader(consumer_config(settings, group) | config, names, self._release)

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
        return Deliverer(
            session, self._guard, self._webhook, self._ledger, self._slots, self._policy
        )

    async def _read_all(self) -> None:
        """Until `stop`, or until a consumer cannot go on: then none does."""
        tasks = [asyncio.create_task(self._read(reader)) for reader in self._readers]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        self.stop()
        await asyncio.gather(*tasks)

    async def _read(self, reader: Reader) -> None:
        commit_at = 0.0
        while not self._stopping.is_set():
            # Pausing throws away what was fetched ahead: a short wait for room spares it.
            await self._wait_for_room(reader, _PAUSE_AFTER_S)
            messages = await reader.poll(self._room(reader))
            admitted = [self._take(reader, message) for message in messages]
            if time.monotonic() >= commit_at:
                reader.commit()
                commit_at = time.monotonic() + _COMMIT_INTERVAL_S
            if reader is self._waiting and not all(admitted):
                await self._rest()

    async def _rest(self) -> None:
        self._turn.clear()
        await asyncio.sleep(_REST_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._turn.wait(), _LONGEST_REST_S - _REST_S)

    def _room(self, reader: Reader) -> int:
        settings = self._settings
        held = len(self._news) + sum(len(each) for each in self._readers)
        return min(settings.webhook_backlog - held, settings.webhook_repeats - reader.behind)

    async def _wait_for_room(self, reader: Reader, longest_s: float) -> None:
        end = time.monotonic() + longest_s
        while self._room(reader) <= 0 and (left := end - time.monotonic()) > 0:
            self._progress.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), left)

    def _take(self, reader: Reader, message: Message) -> bool:
        """Begins what is to be done for a message; False when it is not its turn."""
        try:
            delivery = self._asked_for(message)
            run = Run(delivery) if delivery is not None else None
        except ValueError as error:
            self._spawn(reader, message, self._set_aside(message, str(error)))
            return True
        except Exception as error:
            # Whatever it is, it would come again each time that the message is read.
            log.exception("a message broke the notifier")
            self._spawn(reader, message, self._set_aside(message, f"internal error: {error!r}"))
            return True
        if run is None:
            reader.done(*place_of(message))
            return True
        due_at = run.delivery.due_at
        if (due_at is not None and due_at > now()) or not self._slots.admit(run.host):
            self._spawn(reader, message, self._put_aside(run))
            return False
        partition, _ = place_of(message)
        self._runs[partition].add(run)
        run.task = self._spawn(reader, message, self._deliver(partition, run))
        return True

    def _asked_for(self, message: Message) -> WebhookDelivery | None:
        if message.topic() != self._states:
            return delivery_in(message.headers(), message.value())
        state = running_state(message.value())
        _, milliseconds = message.timestamp()
        return self._news.hear(state, from_epoch(milliseconds / 1000)) if state else None

    def _spawn(
        self, reader: Reader, message: Message, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        """Does what a message asks for; then, unless it was cancelled, the message is done."""
        partition, offset = place_of(message)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            if (error := task.exception()) is not None:
                log.error("%s-%d@%d broke the notifier", *partition, offset, exc_info=error)
            reader.done(partition, offset)
            self._progress.set()

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    async def _deliver(self, partition: Partition, run: Run) -> None:
        try:
            finished = await self._deliverer.deliver(run)
        except Exception as error:
            # A defect of ours may not stop the partition for ever: the delivery is given up.
            log.exception("the webhook of job %s broke the notifier", run.delivery.job_id)
            await self._ledger.gave_up(run.delivery, f"internal error: {type(error).__name__}")
            finished = True
        finally:
            self._slots.leave(run.host)
            if runs := self._runs.get(partition):
                runs.discard(run)
        if not finished:
            await self._put_aside(run)
        elif run.delivery.since is not None:
            self._turn.set()

    async def _put_aside(self, run: Run) -> None:
        """What found no place, or was called off, is gone on with later; but not for ever."""
        delivery = run.delivery.evolve(since=run.delivery.since or now())
        waited_s = time.time() - to_epoch(delivery.since)
        over = outstayed(waited_s, self._slots.silent_s(run.host), self._policy)
        if over is None:
            await self._ledger.put_aside(delivery)
            return
        log.warning("the webhook of job %s is given up: %s", delivery.job_id, over.reason)
        await self._ledger.gave_up(delivery, over.reason)

    async def _set_aside(self, message: Message, reason: str) -> None:
        """What cannot be delivered goes to the dead-letter topic, the reason in its headers."""
        (topic, number), offset = place_of(message)
        log.error("%s-%d@%d: %s", topic, number, offset, reason)
        await self._ledger.undecodable(
            message.key(),
            message.value(),
            message.headers() or [],
            [
                ("imagemill-source-topic", topic.encode()),
                ("imagemill-source-partition", str(number).encode()),
                ("imagemill-source-offset", str(offset).encode()),
                ("imagemill-error", reason.encode(errors="replace")),
            ],
        )

    async def _release(self, partitions: list[Partition]) -> None:
        runs = [run for partition in partitions for run in self._runs.pop(partition, ())]
        await self._call_off(runs, _RELEASE_GRACE_S)

    async def _call_off(self, runs: list[Run], grace_s: float) -> None:
        for run in runs:
            run.call_off()
        tasks = [run.task for run in runs if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)

    async def _finish(self) -> None:
        """Ends what is under way: attempts are finished, what waits is put aside."""
        runs = [run for runs in self._runs.values() for run in runs] + self._news.runs
        await self._call_off(runs, self._settings.webhook_timeout_s + _RELEASE_GRACE_S)
        tasks = self._tasks.union(run.task for run in runs if run.task is not None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _report(self) -> dict[str, Any]:
        return {
            "ready": all(reader.ready for reader in self._readers) and not self._stopping.is_set(),
            "deliveries": len(self._news) + sum(len(runs) for runs in self._runs.values()),
            "uncommitted": sum(reader.behind for reader in self._readers),
        }
