"""Cancel requests: published for the track agent to judge, and the answer waited for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.read_model.queries import JobRecord
from producer_api.read_model.read_model import ReadModel
from schemas import cloudevents, topics
from schemas.events import CancelRequested, JobSubmitted
from schemas.jobs import Job
from schemas.times import now

log = logging.getLogger(__name__)

# Submissions of which the broker's word is out; more than a broker failure leaves open at once.
_DOUBTFUL = 10_000


class Canceller:
    """Asks for jobs to be cancelled."""

    def __init__(
        self, settings: ApiSettings, producer: AsyncProducer, projection: ReadModel
    ) -> None:
        self._topic = settings.topic(topics.JOBS_CONTROL.name)
        self._wait_s = settings.cancel_wait_s
        self._producer = producer
        self._projection = projection
        self._doubtful: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        projection.on_change(self._changed)

    async def cancel(self, record: JobRecord) -> JobRecord:
        """Ask for it, and wait for the judgement; the job as it is then.

        It may have ended otherwise, or, while no processor runs, not have changed yet: the
        request stays in the log and is judged when one does.

        Raises:
            KafkaUnavailable: the request could not be published.
        """
        job = JobSubmitted.model_construct(
            **{name: getattr(record.state, name) for name in Job.model_fields},
            inputs=record.inputs,
        )
        await self._request(job)
        return await self._projection.wait_ended(job.job_id, self._wait_s) or record

    def in_doubt(self, job_id: str) -> None:
        """A submission was answered with a failure, but may reach the log: then cancel it."""
        self._doubtful[job_id] = None
        if len(self._doubtful) > _DOUBTFUL:
            del self._doubtful[next(iter(self._doubtful))]

    async def _request(self, job: JobSubmitted) -> None:
        request = CancelRequested(job_id=job.job_id, at=now(), job=job)
        encoded = cloudevents.encode(request)
        await self._producer.send(self._topic, job.job_id.encode(), encoded.value, encoded.headers)

    def _changed(self, job_ids: Iterable[str]) -> None:
        if not self._doubtful:
            return
        for job_id in job_ids:
            record = self._projection.peek(job_id) if job_id in self._doubtful else None
            if record is not None:
                del self._doubtful[job_id]
                task = asyncio.create_task(self._withdraw(record))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _withdraw(self, record: JobRecord) -> None:
        log.warning(
            "Job %s reached the log after its sender was told that it failed; it is cancelled",
            record.state.job_id,
        )
        try:
            await self.cancel(record)
        except KafkaUnavailable:
            # The broker is away again; the job's next change brings it back here.
            self.in_doubt(record.state.job_id)
