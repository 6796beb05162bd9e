"""Cancel requests: published for the track agent to decide, and its decision waited for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.read_model.read_model import ReadModel
from producer_api.read_model.records import JobRecord
from schemas import cloudevents, topics
from schemas.events import CancelRequested, JobSubmitted
from schemas.jobs import Job
from schemas.times import now

log = logging.getLogger(__name__)

# Submissions whose delivery failed and that may be in the log; a broker failure leaves fewer open.
_MAX_UNCONFIRMED = 10_000


class Canceller:
    """Publishes cancel requests."""

    def __init__(
        self, settings: ApiSettings, producer: AsyncProducer, read_model: ReadModel
    ) -> None:
        self._topic = settings.topic(topics.JOBS_CONTROL.name)
        self._wait_s = settings.cancel_wait_s
        self._producer = producer
        self._read_model = read_model
        self._unconfirmed: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        read_model.on_change(self._cancel_written)

    async def cancel(self, record: JobRecord) -> JobRecord:
        """Request the cancellation, wait for the track agent, and return the job as it is then.

        The job may have ended otherwise. While no processor runs it does not change: the request
        stays in the log until one decides it (guarantee 6: the API never changes a state).

        Raises:
            KafkaUnavailable: the request could not be published.
        """
        job = JobSubmitted.model_construct(
            **{name: getattr(record.state, name) for name in Job.model_fields},
            inputs=record.inputs,
        )
        await self._request(job)
        return await self._read_model.wait_ended(job.job_id, self._wait_s) or record

    def cancel_if_written(self, job_id: str) -> None:
        """Cancel a submission that was answered with a failure, should it show up in the log.

        Guarantee 1, link 1: nothing is queued after a 503.
        """
        self._unconfirmed[job_id] = None
        if len(self._unconfirmed) > _MAX_UNCONFIRMED:
            del self._unconfirmed[next(iter(self._unconfirmed))]

    async def _request(self, job: JobSubmitted) -> None:
        request = CancelRequested(job_id=job.job_id, at=now(), job=job)
        encoded = cloudevents.encode(request)
        await self._producer.send(self._topic, job.job_id.encode(), encoded.value, encoded.headers)

    def _cancel_written(self, changed_ids: Iterable[str]) -> None:
        if not self._unconfirmed:
            return
        for job_id in changed_ids:
            record = self._read_model.peek(job_id) if job_id in self._unconfirmed else None
            if record is not None:
                del self._unconfirmed[job_id]
                task = asyncio.create_task(self._withdraw(record))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _withdraw(self, record: JobRecord) -> None:
        log.warning(
            "Job %s is in the log although its sender got a failure; it is cancelled",
            record.state.job_id,
        )
        try:
            await self.cancel(record)
        except KafkaUnavailable:
            # The broker is away again; the job's next change calls this again.
            self.cancel_if_written(record.state.job_id)
