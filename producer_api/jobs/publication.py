"""Publishes a job to its priority topic, and settles what happens if that is not confirmed."""

from __future__ import annotations

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.http.problems import RETRY_AFTER_S, Problem
from producer_api.jobs.cancellation import Canceller
from producer_api.jobs.staging import Staging
from producer_api.read_model.read_model import ReadModel
from schemas import cloudevents
from schemas.events import JobSubmitted
from schemas.topics import MAX_MESSAGE_BYTES, PRIORITY_TOPICS

# Bytes of a message's headers and framing, beside its value.
_MESSAGE_OVERHEAD = 64 * 1024


class JobPublisher:
    """Publishes jobs, each as one message."""

    def __init__(
        self,
        settings: ApiSettings,
        producer: AsyncProducer,
        read_model: ReadModel,
        canceller: Canceller,
    ) -> None:
        self._settings = settings
        self._producer = producer
        self._read_model = read_model
        self._canceller = canceller

    async def publish(self, job: JobSubmitted, staging: Staging) -> None:
        """Send the job, wait until all replicas have it, and keep its files.

        Raises:
            Problem: 413 when the job does not fit in a message; 503 when it is not known whether
                a job under an id of the client's was written.
            KafkaUnavailable: the broker did not confirm it; if it was written, it is cancelled.
        """
        encoded = cloudevents.encode(job)
        if len(encoded.value) > MAX_MESSAGE_BYTES - _MESSAGE_OVERHEAD:
            raise Problem(
                413, "body_too_large", "The job's URLs and metadata are too large together."
            )
        topic = self._settings.topic(PRIORITY_TOPICS[job.priority].name)
        self._read_model.reserve(job.job_id)
        try:
            # Guarantee 1, link 1: answered 202 only once every replica has the message.
            await self._producer.send(topic, job.job_id.encode(), encoded.value, encoded.headers)
        except BaseException as error:
            self._read_model.release(job.job_id)
            # A send that timed out may have been written all the same.
            if job.fingerprint is None:
                self._canceller.cancel_if_written(job.job_id)
                raise
            # Under the client's id or key a repeat finds that job, at any API: it needs its files.
            # If it was not written, retention removes the files later.
            staging.keep()
            if isinstance(error, KafkaUnavailable):
                raise _unconfirmed() from error
            raise
        staging.keep()
        self._read_model.confirm(job)


def _unconfirmed() -> Problem:
    return Problem(
        503,
        "broker_unavailable",
        "The message broker did not confirm the job in time; it may be queued or not. Send the "
        "same request with the same id or key again: that makes no second job.",
        headers={"Retry-After": RETRY_AFTER_S},
    )
