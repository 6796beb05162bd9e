"""Removes what has outlived its time: jobs with their files everywhere, and files without a job."""

from __future__ import annotations

import asyncio
import logging
import time
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
from schemas.times import DAY_S, from_epoch, now, to_epoch

log = logging.getLogger(__name__)

_BATCH = 200
# An upload waits this long at most for the last job that names it, and that one, as long as its
# topic keeps it, for its turn. What is older than that and the time of an ended job is in no use.
_UNENDED_S = MAX_UPLOAD_AGE_S + max(
    (topic.retention_ms or 0) / 1000 for topic in topics.PRIORITY_TOPICS.values()
)
_PREFIXES = ("uploads/", "results/")


@dataclass
class Sweep:
    """What a sweep removed, or would remove."""

    jobs: list[ExpiredJob] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)


class Retention:
    """Sweeps, once or for ever. Several processes may sweep at once: all of it is repeatable."""

    def __init__(
        self,
        settings: ApiSettings,
        store: ObjectStore,
        producer: AsyncProducer,
        projection: ReadModel,
    ) -> None:
        self._settings = settings
        self._store = store
        self._producer = producer
        self._projection = projection

    def horizon(self) -> RetentionCutoff:
        """Where the time of jobs ends, as of now."""
        return RetentionCutoff(
            now(), from_epoch(time.time() - self._settings.retention_days * DAY_S)
        )

    async def run(self) -> None:
        """Sweep at the interval of the setting until cancelled."""
        while True:
            await asyncio.sleep(self._settings.retention_interval_s)
            try:
                sweep = await self.sweep()
            except (KafkaUnavailable, StoreError, ReadModelBehind) as error:
                log.warning("Old jobs are not removed this time: %s", error)
                continue
            except Exception:
                # Nobody awaits this task: what ended it would end all sweeps, and not be told.
                log.exception("Old jobs are not removed this time")
                continue
            if sweep.jobs or sweep.orphans:
                log.info(
                    "Removed %d old jobs and %d files without a job",
                    len(sweep.jobs), len(sweep.orphans),
                )  # fmt: skip

    async def sweep(self, *, dry_run: bool = False) -> Sweep:
        """Remove what is old and tell what that was; a dry run touches nothing.

        Raises:
            KafkaUnavailable, ReadModelBehind: the topics cannot be read to their ends, or written.
            StoreError: the store cannot be listed, or files not deleted. What was removed until
                then stays removed.
        """
        # Before the catch-up: a job that was made under a removed one's id since then is newer.
        horizon = self.horizon()
        await self._projection.catch_up()
        sweep = Sweep()
        for jobs in self._expired(horizon):
            if not dry_run:
                await self._remove(jobs, horizon.now)
            sweep.jobs += jobs
        sweep.orphans = await self._orphans()
        if not dry_run:
            await asyncio.to_thread(self._delete, sweep.orphans)
        return sweep

    def _expired(self, horizon: RetentionCutoff) -> Iterator[list[ExpiredJob]]:
        last = 0
        while jobs := self._projection.expired(horizon, last, _BATCH):
            yield jobs
            last = jobs[-1].number

    async def _remove(self, jobs: list[ExpiredJob], at: str) -> None:
        """Files first: if that fails, the job is still there to be swept again.

        What is newer than `at` belongs to a job that took an id over meanwhile.
        """
        await asyncio.to_thread(self._delete_files, jobs, to_epoch(at))
        # To the track agent, the one writer of states: it deletes its own, and every projection
        # reads the tombstone.
        await asyncio.gather(*(self._expire(job.job_id, at) for job in jobs))

    async def _expire(self, job_id: str, at: str) -> None:
        try:
            event = JobExpired(job_id=job_id, at=at)
        except ValidationError:
            # Somebody else's record, under an id that no job can have: no agent would know it.
            log.warning("The state of %r is no job's and stays on the topic", job_id)
            return
        value, headers = cloudevents.encode(event)
        topic = self._settings.topic(topics.JOBS_CONTROL.name)
        await self._producer.send(topic, job_id.encode(), value, headers)

    def _delete_files(self, jobs: list[ExpiredJob], before_s: float) -> None:
        """What lies under the jobs' own keys: whatever else they name may be others', too."""
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

    async def _orphans(self) -> list[str]:
        """Old files under no job's id: uploads, used or not, and what failed submits left."""
        before_s = time.time() - self._settings.retention_days * DAY_S - _UNENDED_S
        old = [
            key
            for prefix in _PREFIXES
            for key in await asyncio.to_thread(self._older_than, prefix, before_s)
        ]
        return [key for key in old if self._projection.peek(job_of_key(key)) is None]

    def _older_than(self, prefix: str, before_s: float) -> list[str]:
        try:
            return [
                stat.key
                for stat in self._store.iter_keys(prefix)
                if stat.modified.timestamp() < before_s
            ]
        except InvalidKey:
            # A job published by somebody else, under an id that no file can have.
            return []
