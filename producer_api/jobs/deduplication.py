"""Settles which of several requests with one client-chosen id makes the job, whichever API they
came to: the one whose claim is the first in the log."""

from __future__ import annotations

import uuid

from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.http.problems import RETRY_AFTER_S, Problem
from producer_api.read_model.queries import Claim, JobRecord
from producer_api.read_model.read_model import ReadModel
from schemas import cloudevents, topics
from schemas.events import JobClaimed
from schemas.times import now

# Another API was the first with the same request: its job is published this soon, or it died.
_OTHERS_JOB_S = 2.0


class Deduplicator:
    """Deduplicator ids for requests of this API."""

    def __init__(
        self, settings: ApiSettings, producer: AsyncProducer, projection: ReadModel
    ) -> None:
        self._topic = settings.topic(topics.JOBS_CONTROL.name)
        self._timeout_s = settings.catch_up_timeout_s
        self._producer = producer
        self._projection = projection

    async def win(self, job_id: str, fingerprint: str) -> JobRecord | None:
        """Claim an id of which no job is known, for a request of that fingerprint.

        None: its job is to be published now. Else it is the job of another request for the same.
        Where that does not come, both publish it: the same job twice has one outcome.

        Raises:
            Problem: 422 when a request for something else was the first; 503 when the read side
                does not tell in time.
            KafkaUnavailable: the claim could not be published.
        """
        at = now()

        def lasting() -> Claim | None:
            claim = self._projection.claim(job_id)
            return None if claim is None or claim.ends_at < at else claim

        own = JobClaimed(job_id=job_id, claim_id=uuid.uuid4().hex, fingerprint=fingerprint, at=at)
        first = lasting()
        if first is None:
            await self._publish(own)
            first = await self._projection.until(lasting, self._timeout_s)
        if first is None:
            raise Problem(
                503,
                "projection_behind",
                "The server could not make sure in time that no other request has this id. "
                "Nothing was queued. Try again shortly.",
                headers={"Retry-After": RETRY_AFTER_S},
            )
        if first.fingerprint != fingerprint:
            raise repeat_differs()
        if first.claim_id == own.claim_id:
            return None
        return await self._projection.until(lambda: self._projection.peek(job_id), _OTHERS_JOB_S)

    async def _publish(self, claim: JobClaimed) -> None:
        encoded = cloudevents.encode(claim)
        key = claim.job_id.encode()
        await self._producer.send(self._topic, key, encoded.value, encoded.headers)


def repeat_differs() -> Problem:
    """The answer to an id or key that stands for another request."""
    return Problem(
        422,
        "repeat_differs",
        "This id or Idempotency-Key was used before for a request that asked for something else. "
        "Nothing was queued; use a new one.",
    )
