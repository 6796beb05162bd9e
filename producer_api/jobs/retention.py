"""Removes jobs that are older than the retention, with their files, and files without a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import (
    InvalidKey,
    ObjectStore,
    StoreError,
    job_of_key,
    result_prefix,
    upload_prefix,
)
from producer_api.jobs.inputs import MAX_UPLOAD_AGE_S
from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.queries import ExpiredJob
from producer_api.read_model.read_model import ReadModel
from schemas import cloudevents, topics
from schemas.events import JobExpired
from schemas.times import to_epoch

log = logging.getLogger(__name__)

_BATCH_JOBS = 200
# Seconds that a file can be in use before the retention of its job begins: an upload waits for
# the last job that names it, and that job waits in its queue for as long as the topic keeps it.
_MAX_USE_S = MAX_UPLOAD_AGE_S + max(
    (topic.retention_ms or 0) / 1000 for topic in topics.PRIORITY_TOPICS.values()
)
_PREFIXES = ("uploads/", "results/")


@dataclass
class Sweep:
    """The jobs and files that a sweep removed, or would remove."""

    jobs: list[ExpiredJob] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    """Keys of files without a job."""


class Retention:
    """Sweeps once or at intervals. Several processes may sweep at once: each step is repeatable."""

    def __init__(
        self,
        settings: ApiSettings,
        store: ObjectStore,
        producer: AsyncProducer,
        read_model: ReadModel,
    ) -> None:
        self._settings = settings
        self._store = store
        self._producer = producer
        self._read_model = read_model

    async def run(self) -> None:
        """Sweep at the interval of the setting until cancelled."""
        while True:
            await asyncio.sleep(self._settings.retention_interval_s)
            try:
                sweep = await self.sweep()
            except (KafkaUnavailable, StoreError, ReadModelBehind) as error:
                log.warning("This sweep of old jobs ended early: %s", error)
                continue
            except Exception:
                # Nobody awaits this task: an error that ended it would end all sweeps unseen.
                log.exception("This sweep of old jobs ended early")
                continue
            if sweep.jobs or sweep.orphans:
                log.info(
                    "Removed %d old jobs and %d files without a job",
                    len(sweep.jobs), len(sweep.orphans),
                )  # fmt: skip

    async def sweep(self, *, dry_run: bool = False) -> Sweep:
        """Remove what is old and return it; a dry run removes nothing.

        Raises:
            KafkaUnavailable, ReadModelBehind: the topics cannot be read to their ends, or written.
            StoreError: the store cannot be listed, or files not deleted. What was removed until
                then stays removed.
        """
        # Before the catch-up: a job that took over a removed one's id since then is newer.
        cutoff = RetentionCutoff.current(self._settings.retention_days)
        await self._read_model.catch_up()
        sweep = Sweep()
        for jobs in self._expired(cutoff):
            if not dry_run:
                await self._remove(jobs, cutoff.now)
            sweep.jobs += jobs
        sweep.orphans = await self._orphans(to_epoch(cutoff.oldest) - _MAX_USE_S)
        if not dry_run:
            await asyncio.to_thread(self._delete, sweep.orphans)
        return sweep

    def _expired(self, cutoff: RetentionCutoff) -> Iterator[list[ExpiredJob]]:
        last = 0
        while jobs := self._read_model.queries.expired(cutoff, last, _BATCH_JOBS):
            yield jobs
            last = jobs[-1].number

    async def _remove(self, jobs: list[ExpiredJob], at: str) -> None:
        """Delete the jobs' files and then expire the jobs; a sweep that fails between repeats both.

        Files newer than `at` belong to a job that took the id over meanwhile.
        """
        await asyncio.to_thread(self._delete_files, jobs, to_epoch(at))
        await asyncio.gather(*(self._expire(job.job_id, at) for job in jobs))

    async def _expire(self, job_id: str, at: str) -> None:
        """Ask the track agent to delete the job: it alone writes states (guarantee 6).

        Its tombstone removes the job from every read model.
        """
        try:
            event = JobExpired(job_id=job_id, at=at)
        except ValidationError:
            # A foreign writer's state, under an id that no job can have and no agent knows.
            log.warning("The state of %r is not of a job and stays on the topic", job_id)
            return
        value, headers = cloudevents.encode(event)
        topic = self._settings.topic(topics.JOBS_CONTROL.name)
        await self._producer.send(topic, job_id.encode(), value, headers)

    def _delete_files(self, jobs: list[ExpiredJob], before_s: float) -> None:
        """Delete the files under the jobs' own keys; other files that they name may be shared."""
        self._delete(
            key
            for job in jobs
            for prefix in (upload_prefix(job.job_id), result_prefix(job.job_id))
            for key in self._older_than(prefix, before_s)
        )

    def _delete(self, keys: Iterable[str]) -> None:
        wanted = list(keys)
        if wanted:
            self._store.delete(*wanted)

    async def _orphans(self, before_s: float) -> list[str]:
        """Return the keys of files older than that whose job is gone, or never was queued."""
        old = [
            key
            for prefix in _PREFIXES
            for key in await asyncio.to_thread(self._older_than, prefix, before_s)
        ]
        return [key for key in old if self._read_model.peek(job_of_key(key)) is None]

    def _older_than(self, prefix: str, before_s: float) -> list[str]:
        try:
            return [
                stat.key
                for stat in self._store.iter_keys(prefix)
                if stat.modified.timestamp() < before_s
            ]
        except InvalidKey:
            # A foreign writer's job, under an id that cannot begin a key.
            return []
