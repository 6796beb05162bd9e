"""The read side as request handlers use it: jobs as of now, and waiting for what comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as BrokerPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.partitions import partition_of
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.kafka.topics import admin
from imagemill.settings import ApiSettings
from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.feed import Feed
from producer_api.read_model.queries import (
    Claim,
    Cursor,
    ExpiredJob,
    JobRecord,
    ListFilter,
    ProjectionReader,
    Totals,
    readable,
)
from producer_api.read_model.waiters import Waiters
from producer_api.read_model.writer import ProjectionStore
from schemas import topics
from schemas.events import JobSubmitted
from schemas.jobs import JobStatus
from schemas.templates import Template
from schemas.times import now

# Own submissions that the feed has not brought yet; more than can ever be under way.
_RECENT = 10_000
_QUEUED_AGE_S = 0.5
_METADATA_TIMEOUT_S = 2.0

Found = TypeVar("Found")


class ReadModel:
    """All jobs, for one asyncio loop. `start` before use, `stop` at the end."""

    def __init__(self, settings: ApiSettings) -> None:
        """Opens the file. Raises sqlite3.Error."""
        self._settings = settings
        self._store = ProjectionStore(settings.projection_file)
        self._reader = ProjectionReader(settings.projection_file)
        self._list_reader = ProjectionReader(settings.projection_file)
        self.feed = Feed(settings, self._store, self._changed_on_thread)
        self.waiters = Waiters(settings.max_waiters)
        self._recent: OrderedDict[str, JobSubmitted | None] = OrderedDict()
        self._ends = _Ends(settings)
        self._progress: set[asyncio.Future[None]] = set()
        self._ready = asyncio.Event()
        self._observers: list[Callable[[set[str]], None]] = []
        self._queued = 0
        self._queued_at = float("-inf")

    async def start(self) -> None:
        """Begin reading the topics; returns at once."""
        self._loop = asyncio.get_running_loop()
        self.feed.start()
        self._first = self._loop.create_task(self._await_first())

    async def stop(self) -> None:
        """Stop reading and close the file."""
        self._first.cancel()
        await asyncio.to_thread(self.feed.stop)
        self._reader.close()
        self._list_reader.close()
        self._store.close()

    @property
    def ready(self) -> bool:
        """Whether all that was in the topics at the start has been read."""
        return self._ready.is_set()

    @property
    def queued(self) -> int:
        """Jobs that wait, at all priorities; as of at most half a second ago."""
        moment = self._loop.time()
        if moment - self._queued_at > _QUEUED_AGE_S:
            self._queued = self._reader.count(JobStatus.QUEUED)
            self._queued_at = moment
        return self._queued

    def reserve(self, job_id: str) -> None:
        """Prepare for a submission that is about to be sent; `confirm` or `release` it then."""
        self._recent[job_id] = None
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def confirm(self, job: JobSubmitted) -> None:
        """Make a submission readable that is in the log, though the feed has not read it yet."""
        if job.job_id in self._recent:
            self._recent[job.job_id] = job

    def release(self, job_id: str) -> None:
        """Give up the reservation of a submission that failed."""
        self._recent.pop(job_id, None)

    def peek(self, job_id: str) -> JobRecord | None:
        """The job as far as it is known here and now."""
        record = self._reader.job(job_id)
        if record is None and (job := self._recent.get(job_id)) is not None:
            return JobRecord.of_submission(job)
        return record

    async def find(self, job_id: str) -> JobRecord | None:
        """The job; None only when it is in no topic, whichever process accepted it.

        Raises:
            ReadModelBehind: the topics' ends were not reached in time.
            KafkaUnavailable: the topics' ends cannot be told.
        """
        record = self.peek(job_id)
        if record is None:
            await self.catch_up(job_id)
            record = self.peek(job_id)
        return record

    def claim(self, job_id: str) -> Claim | None:
        """The first claim of an id, as far as it is known here; it may have ended."""
        return self._reader.claim(job_id)

    async def wait_for(self, query: Callable[[], Found | None], timeout_s: float) -> Found | None:
        """Repeat `query` after each transaction until it returns something; None on a timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    with self._transaction() as moved:
                        # Queried after the watch began: no transaction falls between the two.
                        if (found := query()) is not None:
                            return found
                        await moved
        return None

    async def template(self, name: str) -> Template | None:
        """The template of that name as it is now, whichever process changed it last. Raises as
        `find`."""
        await self.catch_up(name)
        return readable(name, Template, self._reader.document(topics.TEMPLATES.name, name))

    async def templates(self) -> dict[str, Template]:
        """All templates by name. Raises as `find`.

        Anyone may write to the topic: a record that is no template is passed over.
        """
        await self.catch_up()
        found = self._reader.documents(topics.TEMPLATES.name)
        read = ((name, readable(name, Template, document)) for name, document in found)
        return {name: template for name, template in read if template is not None}

    def heartbeats(self) -> list[tuple[str, bytes]]:
        """The last heartbeat of every worker, by its id."""
        return self._reader.documents(topics.WORKERS_HEARTBEATS.name)

    def counts(self) -> list[tuple[str, str, str, int]]:
        """Jobs by status, priority and operation."""
        return self._reader.totals(now()).counts

    async def totals(self, since: str) -> Totals:
        """Counts for statistics; see ProjectionReader."""
        return await asyncio.to_thread(self._list_reader.totals, since)

    def expired(self, horizon: RetentionCutoff, after: int, limit: int) -> list[ExpiredJob]:
        """Jobs to be removed; see ProjectionReader."""
        return self._reader.expired(horizon, after, limit)

    async def wait_ready(self) -> None:
        """Wait until all that was in the topics at the start has been read."""
        await self._ready.wait()

    async def ends(self) -> dict[TopicPartition, int]:
        """The ends of all partitions read, as of now. Raises KafkaUnavailable."""
        return await self._ends.ask(self.feed.partitions)

    async def list(
        self, wanted: ListFilter, limit: int, after: Cursor | None
    ) -> tuple[list[JobRecord], Cursor | None]:
        """A page of jobs, newest first, with what this process accepted until now.

        Raises as `find`.
        """
        if self._recent:
            await self.catch_up()
        return await asyncio.to_thread(self._list_reader.jobs, wanted, limit, after)

    async def wait_ended(self, job_id: str, timeout_s: float) -> JobRecord | None:
        """The job as soon as it has ended, or as it is when the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if await self.find(job_id) is None:
            return None
        while True:
            with self.waiters.watch(job_id) as change:
                # Read after the watch began: no change falls between the two.
                record = self.peek(job_id)
                left = deadline - loop.time()
                if record is None or record.state.status.ended or left <= 0 or change is None:
                    return record
                await asyncio.wait([change], timeout=left)

    async def catch_up(self, key: str | None = None) -> None:
        """Wait until all that is in the topics now has been read, or all with that key.

        Raises:
            ReadModelBehind: that takes longer than the setting allows.
            KafkaUnavailable: the topics' ends cannot be told.
        """
        try:
            async with asyncio.timeout(self._settings.catch_up_timeout_s):
                await self._reach(await self._ends.ask(self._partitions_of(key)))
        except TimeoutError:
            raise ReadModelBehind from None

    def _partitions_of(self, key: str | None) -> list[TopicPartition]:
        """Where messages with that key can be; everywhere, for none."""
        if key is None:
            return self.feed.partitions
        number = partition_of(key.encode(), self._settings.topic_partitions)
        return [position for position in self.feed.partitions if position.partition == number]

    async def _reach(self, ends: dict[TopicPartition, int]) -> None:
        while True:
            with self._transaction() as moved:
                positions = self.feed.positions
                if all(positions.get(where, 0) >= end for where, end in ends.items()):
                    return
                await moved

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[asyncio.Future[None]]:
        """A future of the next transaction."""
        moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress.add(moved)
        self.feed.awaited += 1
        try:
            yield moved
        finally:
            self.feed.awaited -= 1
            self._progress.discard(moved)

    async def _await_first(self) -> None:
        """Reach the ends that the topics had at the start, however long that takes."""
        while not self.ready:
            try:
                await self._reach(await self.ends())
                self._ready.set()
            except KafkaUnavailable:
                await asyncio.sleep(0.5)

    def _changed_on_thread(self, job_ids: set[str]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed, job_ids)

    def on_change(self, call: Callable[[set[str]], None]) -> None:
        """Have `call` told of every set of jobs that changed, on the loop."""
        self._observers.append(call)

    def _changed(self, job_ids: set[str]) -> None:
        for job_id in job_ids:
            self._recent.pop(job_id, None)
        for observe in self._observers:
            observe(job_ids)
        self.waiters.wake(job_ids)
        moved, self._progress = self._progress, set()
        for future in moved:
            if not future.done():
                future.set_result(None)


class _Ends:
    """Asks the broker for the ends of the partitions; one request serves all who came before it."""

    def __init__(self, settings: ApiSettings) -> None:
        self._admin: AdminClient = admin(settings)
        self._timeout_s = settings.catch_up_timeout_s
        self._wanted: set[TopicPartition] = set()
        self._running: asyncio.Task[dict[TopicPartition, int]] | None = None
        self._next: asyncio.Task[dict[TopicPartition, int]] | None = None

    async def ask(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Their ends as of now or later, never earlier. Raises KafkaUnavailable."""
        self._wanted.update(partitions)
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            self._next.add_done_callback(_retrieve)
        ends = await asyncio.shield(self._next)
        return {where: ends[where] for where in partitions}

    async def _after(
        self, running: asyncio.Task[dict[TopicPartition, int]] | None
    ) -> dict[TopicPartition, int]:
        if running is not None:
            await asyncio.wait([running])
        # From here on the request is under way: who asks now may have written after it.
        self._running, self._next = self._next, None
        wanted, self._wanted = self._wanted, set()
        request = {BrokerPartition(*position): OffsetSpec.latest() for position in wanted}
        answers = self._admin.list_offsets(request, request_timeout=self._timeout_s)
        ends = {}
        for where, answer in answers.items():
            try:
                end = (await asyncio.wrap_future(answer)).offset
            except KafkaException as error:
                await self._learn_leaders()
                raise KafkaUnavailable(f"the end of {where.topic} is unknown: {error}") from error
            ends[TopicPartition(where.topic, where.partition)] = end
        return ends

    async def _learn_leaders(self) -> None:
        """Read the cluster's metadata again, for the next request.

        A request for offsets goes to the leaders that librdkafka last knew. After a broker has died
        they carry an old epoch, and every answer is FENCED_LEADER_EPOCH until something else makes
        it read the metadata: five minutes, by default.
        """
        # While the broker is away there is nothing to learn, and the next failure comes back here.
        with contextlib.suppress(KafkaException):
            await asyncio.to_thread(self._admin.list_topics, timeout=_METADATA_TIMEOUT_S)


def _retrieve(task: asyncio.Task[dict[TopicPartition, int]]) -> None:
    """Take note of a failure that nobody waits for any more; who does gets it on its own."""
    if not task.cancelled():
        task.exception()
