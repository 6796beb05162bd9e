"""Reads how jobs run and end, has webhooks delivered, commits what is done.

1. A message is committed only when its webhook was accepted or given up, or waits on
   `webhooks.retry`, and that is on record.
2. Messages are taken while others are under way, up to a bound; there, reading waits.
3. A delivery whose host is busy waits on `webhooks.retry`, out of the way of other hosts'. That
   topic is read as well, by a consumer that holds far more: what is read there waits for its turn
   in memory. It is written to the topic's end again when it has waited for long, so that a crash
   does not repeat all that was delivered since it was read.
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

from imagemill.kafka.config import consumer_config, producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.net.addresses import AddressPolicy
from imagemill.net.guard import UrlGuard, guarded_session
from imagemill.process.health import serve_health
from imagemill.settings import NotifierSettings
from notifier.bodies import delivery_in
from notifier.consumer import Partition, Reader, place_of
from notifier.delivery import Deliverer, Run
from notifier.host_limits import HostLimits
from notifier.policy import RetryPolicy, outstayed, patience_s
from notifier.progress import ProgressPosts, running_state
from notifier.records import DeliveryRecords
from notifier.secret import webhook_secret
from schemas.times import from_epoch, now, to_epoch
from schemas.topics import JOBS_RESULTS, JOBS_STATE, WEBHOOKS_RETRY, Topic
from schemas.webhooks import WebhookDelivery

log = logging.getLogger(__name__)

_COMMIT_INTERVAL_S = 0.5
# Partitions pause when there was no room for this long.
_PAUSE_AFTER_S = 1.0
# How long a partition that moves away waits for attempts under way.
_RELEASE_GRACE_S = 5.0
# Bodies of what waits for its turn, in bytes; above, no more of it is read.
_WAITING_BYTES = 64 << 20


class Notifier:
    """One notifier process."""

    def __init__(self, settings: NotifierSettings) -> None:
        """Raises ValueError when a setting is wrong, OSError when the secret cannot be kept."""
        self._settings = settings
        self._guard = UrlGuard(AddressPolicy.parse(settings.url_allow))
        self._webhook = Webhook(webhook_secret(settings))
        self._producer = AsyncProducer(producer_config(settings))
        self._ledger = DeliveryRecords(self._producer, settings)
        self._slots = HostLimits(
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
        self._news = ProgressPosts(self._slots, lambda run: self._deliverer.deliver(run))
        self._states = settings.topic(JOBS_STATE.name)
        self._runs: defaultdict[Partition, set[Run]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()
        self._waiting_bytes = 0

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
        # First: a process whose port is taken could not exit with a consumer that was not closed.
        health = await serve_health(settings.host, settings.notifier_port, self._report)
        self._jobs = self._reader("notifier", JOBS_RESULTS, JOBS_STATE)
        # A little at a time, and in no hurry.
        unhurried = {"fetch.wait.max.ms": 500, "queued.min.messages": 1000}
        self._waiting = self._reader("notifier-retry", WEBHOOKS_RETRY, **unhurried)
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
            for message in await reader.poll(self._room(reader)):
                self._take(reader, message)
            if time.monotonic() >= commit_at:
                reader.commit()
                commit_at = time.monotonic() + _COMMIT_INTERVAL_S

    def _room(self, reader: Reader) -> int:
        settings = self._settings
        if reader is self._jobs:
            room = settings.webhook_backlog - len(self._news) - len(reader)
        else:
            room = settings.webhook_waiting - len(reader)
            if self._waiting_bytes > _WAITING_BYTES:
                room = 0
        return min(room, settings.webhook_repeats - reader.behind)

    async def _wait_for_room(self, reader: Reader, longest_s: float) -> None:
        end = time.monotonic() + longest_s
        while self._room(reader) <= 0 and (left := end - time.monotonic()) > 0:
            self._progress.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), left)

    def _take(self, reader: Reader, message: Message) -> None:
        """Begins what is to be done for a message."""
        try:
            delivery = self._asked_for(message)
            run = Run(delivery) if delivery is not None else None
        except ValueError as error:
            self._spawn(reader, message, self._set_aside(message, str(error)))
            return
        except Exception as error:
            # Whatever it is, it would come again each time that the message is read.
            log.exception("a message broke the notifier")
            self._spawn(reader, message, self._set_aside(message, f"internal error: {error!r}"))
            return
        if run is None:
            reader.done(*place_of(message))
            return
        if reader is self._waiting:
            work = self._deliver_in_turn(run)
        elif self._slots.admit(run.host):
            work = self._deliver_at_once(run)
        else:
            self._spawn(reader, message, self._put_aside(run))
            return
        partition, _ = place_of(message)
        runs = self._runs[partition]
        runs.add(run)
        run.task = self._spawn(reader, message, work)
        run.task.add_done_callback(lambda _: runs.discard(run))

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

    async def _deliver_at_once(self, run: Run) -> None:
        if not await self._deliver(run):
            await self._put_aside(run)

    async def _deliver_in_turn(self, run: Run) -> None:
        """When it is due and its host has a place; put aside again if that takes too long."""
        size = len(run.delivery.body)
        self._waiting_bytes += size
        try:
            end = time.monotonic() + patience_s(*self._waited(run), self._policy)
            while not run.called_off and (left := end - time.monotonic()) > 0:
                if await self._turn(run, left) and await self._deliver(run):
                    return
            await self._put_aside(run)
        finally:
            self._waiting_bytes -= size

    async def _turn(self, run: Run, longest_s: float) -> bool:
        """Whether its time came, and a place for it, before it was called off."""
        due_at = run.delivery.due_at
        with run.waiting(), suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                if due_at is not None:
                    await asyncio.sleep(to_epoch(due_at) - time.time())
                await self._slots.turn(run.host)
            return True
        return False

    async def _deliver(self, run: Run) -> bool:
        """Whether a delivery that was admitted is over; its place is free then."""
        try:
            return await self._deliverer.deliver(run)
        except Exception as error:
            # A defect of ours may not stop the partition for ever: the delivery is given up.
            log.exception("the webhook of job %s broke the notifier", run.delivery.job_id)
            await self._ledger.gave_up(run.delivery, f"internal error: {type(error).__name__}")
            return True
        finally:
            self._slots.leave(run.host)

    async def _put_aside(self, run: Run) -> None:
        """What found no place, or was called off, is gone on with later; but not for ever."""
        run.delivery = run.delivery.evolve(since=run.delivery.since or now())
        over = outstayed(*self._waited(run), self._policy)
        if over is None:
            await self._ledger.put_aside(run.delivery)
            return
        log.warning("the webhook of job %s is given up: %s", run.delivery.job_id, over.reason)
        await self._ledger.gave_up(run.delivery, over.reason)

    def _waited(self, run: Run) -> tuple[float, float]:
        """How long it has waited for its turn, and for how long its host is silent; in seconds."""
        since = run.delivery.since
        waited_s = time.time() - to_epoch(since) if since is not None else 0.0
        return waited_s, self._slots.silent_s(run.host)

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
