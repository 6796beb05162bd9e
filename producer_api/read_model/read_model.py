"""The read side of the API: jobs as of now, and waiting for what comes.

The path of a message, module by module:

    topics -> feed.py        a thread reads all partitions, without a consumer group
                             (their number: partitions.py)
           -> changes.py     messages become changes of rows (pure)
           -> writer.py      one transaction: the rows, and the offsets after them
           -> queries.py     rows become JobRecords again, for request handlers
                             (tables and connections: schema.py)

Webhook deliveries go the same way: webhooks/ has their rows and tables, webhook_queries.py their
queries.

An empty, damaged or outdated file is filled from the topics' beginnings (rebuild.py, origin.py), so
the file can be deleted at any time. A request that must see what others wrote until now first asks
the broker for the ends of the partitions (end_offsets.py) and waits until the feed has written up
to there (waiters.py): `catch_up`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.kafka.topics import admin
from imagemill.settings import ApiSettings
from producer_api.read_model.claims import Claims
from producer_api.read_model.end_offsets import EndOffsets
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.feed import Feed
from producer_api.read_model.listing import Cursor, ListFilter
from producer_api.read_model.queries import ReadModelQueries, Totals
from producer_api.read_model.records import JobRecord, decoded
from producer_api.read_model.waiters import TransactionWaiters, Waiters
from producer_api.read_model.webhook_queries import WebhookQueries
from producer_api.read_model.writer import ReadModelWriter
from schemas import topics
from schemas.events import JobSubmitted
from schemas.jobs import JobStatus
from schemas.templates import Template, owner_of_template

# Submissions of this process that the feed has not read; more than can be in flight.
_MAX_UNREAD_SUBMISSIONS = 10_000
_QUEUED_MAX_AGE_S = 0.5
_RETRY_S = 0.5

Found = TypeVar("Found")


class ReadModel:
    """All jobs, for one asyncio loop. `start` before use, `stop` at the end."""

    def __init__(self, settings: ApiSettings) -> None:
        """Open or create the file. Raises sqlite3.Error."""
        self._settings = settings
        self._writer = ReadModelWriter(settings.projection_file)
        reader = self._writer.open_reader()
        self.queries = ReadModelQueries(reader)
        """Short queries of the file, on the loop."""
        self.claims = Claims(reader)
        self.webhooks = WebhookQueries(reader)
        """Short queries of webhook deliveries, on the loop."""
        # Another connection for long queries, which run in threads.
        long_reader = self._writer.open_reader()
        self._long_queries = ReadModelQueries(long_reader)
        self.long_webhooks = WebhookQueries(long_reader)
        """Long queries of webhook deliveries, for threads."""
        self.waiters = Waiters(settings.max_waiters)
        """Requests that wait for a job to change."""
        client = admin(settings)
        self._transactions = TransactionWaiters()
        self.feed = Feed(settings, self._writer, client, self._transactions, self._on_transaction)
        self._ends = EndOffsets(client, settings.catch_up_timeout_s)
        self._unread: OrderedDict[str, JobSubmitted | None] = OrderedDict()
        self._ready = asyncio.Event()
        self._observers: list[Callable[[set[str]], None]] = []
        self._queued = 0
        self._queued_at_s = float("-inf")

    async def start(self) -> None:
        """Begin reading the topics; return at once."""
        self._loop = asyncio.get_running_loop()
        self.feed.start()
        self._becoming_ready = self._loop.create_task(self._become_ready())

    async def stop(self) -> None:
        """Stop reading and close the file."""
        self._becoming_ready.cancel()
        await asyncio.to_thread(self.feed.stop)
        # In a thread, too: it waits for queries of requests that were given up.
        await asyncio.to_thread(self._writer.close)

    @property
    def ready(self) -> bool:
        """True once everything that was in the topics at the start has been read."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Wait until everything that was in the topics at the start has been read."""
        await self._ready.wait()

    def on_change(self, observer: Callable[[set[str]], None]) -> None:
        """Have the observer called on the loop with the ids of the jobs of each transaction."""
        self._observers.append(observer)

    # Jobs.

    def peek(self, job_id: str) -> JobRecord | None:
        """Return the job as far as this process has read it, its own submissions included."""
        record = self.queries.job(job_id)
        if record is None and (job := self._unread.get(job_id)) is not None:
            return JobRecord.of_submission(job)
        return record

    async def find(self, job_id: str) -> JobRecord | None:
        """Return the job; None only when it is in no topic, whichever process accepted it.

        Raises:
            ReadModelBehind: the topics' ends were not reached in time.
            KafkaUnavailable: the topics' ends are unknown.
        """
        record = self.peek(job_id)
        if record is None:
            await self.catch_up(job_id)
            record = self.peek(job_id)
        return record

    async def list(
        self, wanted: ListFilter, limit: int, after: Cursor | None
    ) -> tuple[list[JobRecord], Cursor | None]:
        """Return a page of jobs, newest first, and the next page's cursor if there is one.

        It includes all that this process accepted until now. Raises as `find`.
        """
        if self._unread:
            await self.catch_up()
        return await asyncio.to_thread(self._long_queries.jobs, wanted, limit, after)

    async def wait_ended(self, job_id: str, timeout_s: float) -> JobRecord | None:
        """Return the job as soon as it has ended, or as it is after that time. Raises as `find`."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        if await self.find(job_id) is None:
            return None
        return await self.until_ended(job_id, deadline_s)

    async def until_ended(self, job_id: str, deadline_s: float) -> JobRecord | None:
        """Wait as `wait_ended` for a job that was found, until that time of the loop's clock."""
        loop = asyncio.get_running_loop()
        while True:
            with self.waiters.watch(job_id) as change:
                record = self.peek(job_id)
                remaining_s = deadline_s - loop.time()
                if (
                    record is None
                    or record.state.status.ended
                    or remaining_s <= 0
                    or change is None
                ):
                    return record
                await asyncio.wait([change], timeout=remaining_s)

    # Own submissions, readable before the feed has read them.

    def reserve(self, job_id: str) -> None:
        """Prepare for a submission that is about to be sent; `confirm` or `release` it then."""
        self._unread[job_id] = None
        if len(self._unread) > _MAX_UNREAD_SUBMISSIONS:
            self._unread.popitem(last=False)

    def confirm(self, job: JobSubmitted) -> None:
        """Make a submission readable that is in the log, though the feed has not read it yet."""
        # The feed may have been faster and ended the reservation.
        if job.job_id in self._unread:
            self._unread[job.job_id] = job

    def release(self, job_id: str) -> None:
        """Give up the reservation of a submission that failed."""
        self._unread.pop(job_id, None)

    # Being as new as the topics.

    async def catch_up(self, *keys: str) -> None:
        """Wait until everything in the topics now has been read, or everything with those keys.

        Raises:
            ReadModelBehind: that takes longer than the setting allows.
            KafkaUnavailable: the topics' ends are unknown.
        """
        try:
            async with asyncio.timeout(self._settings.catch_up_timeout_s):
                partitions = self.feed.partitions
                asked = await (partitions.of_keys(keys) if keys else partitions.all())
                await self._reach(await self._ends.ask(asked))
        except TimeoutError:
            raise ReadModelBehind from None

    async def end_offsets(self) -> dict[TopicPartition, int]:
        """Return the end offsets of all partitions read, as of now. Raises KafkaUnavailable."""
        return await self._ends.ask(await self.feed.partitions.all())

    async def wait_for(self, query: Callable[[], Found | None], timeout_s: float) -> Found | None:
        """Repeat the query after each transaction until it finds something; None after that time.

        The query runs on the loop, so it must be short.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    with self._transactions.watch() as transaction:
                        if (found := query()) is not None:
                            return found
                        await transaction
        return None

    # Templates and statistics.

    async def template(self, *keys: str) -> Template | None:
        """Return the template under the first of these keys that has one, as it is now.

        Raises as `find`.
        """
        await self.catch_up(*keys)
        documents = ((key, self.queries.document(topics.TEMPLATES.name, key)) for key in keys)
        found = (decoded(key, Template, document) for key, document in documents)
        return next((template for template in found if template is not None), None)

    async def templates(self, owner: str | None = None) -> dict[str, Template]:
        """Return the shared templates and those of an owner, which hide shared ones of their names.

        Invalid messages are left out. Raises as `find`.
        """
        await self.catch_up()
        shared, own = {}, {}
        for key, document in self.queries.documents(topics.TEMPLATES.name):
            holder, name = owner_of_template(key)
            if holder is None or holder == owner:
                template = decoded(key, Template, document)
                if template is not None:
                    (shared if holder is None else own)[name] = template
        return dict(sorted((shared | own).items()))

    @property
    def queued(self) -> int:
        """Jobs that are queued, at all priorities, as of at most half a second ago."""
        moment_s = self._loop.time()
        if moment_s - self._queued_at_s > _QUEUED_MAX_AGE_S:
            self._queued = self.queries.count(JobStatus.QUEUED)
            self._queued_at_s = moment_s
        return self._queued

    async def totals(self, since: str, owner: str | None = None) -> Totals:
        """Return statistics of all jobs, or of one owner's.

        Jobs made and ended are counted from the timestamp `since` on.
        """
        return await asyncio.to_thread(self._long_queries.totals, since, owner)

    async def _reach(self, ends: dict[TopicPartition, int]) -> None:
        while True:
            with self._transactions.watch() as transaction:
                visible = self.feed.visible_offsets
                if all(visible.get(where, 0) >= end for where, end in ends.items()):
                    return
                await transaction

    async def _become_ready(self) -> None:
        """Reach the ends that the topics had at the start, however long that takes."""
        while not self.ready:
            try:
                await self._reach(await self.end_offsets())
                self._ready.set()
            except KafkaUnavailable:
                await asyncio.sleep(_RETRY_S)

    def _on_transaction(self, job_ids: set[str]) -> None:
        """Pass a transaction on from the feed's thread to the loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed, job_ids)

    def _changed(self, job_ids: set[str]) -> None:
        for job_id in job_ids:
            self._unread.pop(job_id, None)
        self.waiters.wake(job_ids)
        self._transactions.wake()
        for observer in self._observers:
            observer(job_ids)
