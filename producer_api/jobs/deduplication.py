"""Decides which of several requests under one id makes the job, whichever API they came to.

The order of the log decides: the request whose claim is the first one in it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.http.problems import RETRY_AFTER_S, Problem
from producer_api.read_model.claims import Claim
from producer_api.read_model.read_model import ReadModel
from producer_api.read_model.records import JobRecord
from schemas import cloudevents, topics
from schemas.events import JobClaimed
from schemas.times import now

# Seconds to wait for the job of another API whose claim was the first. It publishes within them,
# unless its process ended.
_OTHERS_JOB_S = 2.0


class Deduplicator:
    """Finds repeats of requests under an id or key that the client chose."""

    def __init__(
        self, settings: ApiSettings, producer: AsyncProducer, read_model: ReadModel
    ) -> None:
        self._topic = settings.topic(topics.JOBS_CONTROL.name)
        self._timeout_s = settings.catch_up_timeout_s
        self._producer = producer
        self._read_model = read_model
        self._locks: dict[str, _JobLock] = {}

    @asynccontextmanager
    async def job_lock(self, job_id: str) -> AsyncIterator[None]:
        """Let one request of an id in at a time: the second finds the job that the first made."""
        lock = self._locks.setdefault(job_id, _JobLock())
        lock.users += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[job_id]

    async def known(self, job_id: str, owner: str | None, fingerprint: str) -> JobRecord | None:
        """Return the job that the request repeats, if there is one. Raises as ReadModel.find.

        Raises:
            Problem: 422 when the job was made by a request for something else, 409 when it is
                another owner's.
        """
        record = await self._read_model.find(job_id)
        if record is not None:
            _check_same(owner, fingerprint, record.state.owner, record.state.fingerprint)
        return record

    async def first(self, job_id: str, owner: str | None, fingerprint: str) -> JobRecord | None:
        """Claim an id that no job is known of; return the job of an earlier request for the same.

        None: the request is the first, so its job is to be published now. If the first one's API
        publishes no job in time, this one publishes it: a job that is published twice ends once.

        Raises:
            Problem: 422 when the first request asked for something else, 409 when it is another
                owner's; 503 when the read model has not read the claim in time.
            KafkaUnavailable: the claim could not be published.
        """
        own = JobClaimed(
            job_id=job_id,
            claim_id=uuid.uuid4().hex,
            fingerprint=fingerprint,
            at=now(),
            owner=owner,
        )
        first = self._valid_claim(own)
        if first is None:
            await self._publish(own)
            first = await self._read_model.wait_for(lambda: self._valid_claim(own), self._timeout_s)
        if first is None:
            raise _claim_unread()
        _check_same(owner, fingerprint, first.owner, first.fingerprint)
        if first.claim_id == own.claim_id:
            return None
        return await self._read_model.wait_for(lambda: self._read_model.peek(job_id), _OTHERS_JOB_S)

    def _valid_claim(self, own: JobClaimed) -> Claim | None:
        """Return the first claim of the id that had not ended when `own` was made."""
        claim = self._read_model.claims.first(own.job_id)
        return None if claim is None or claim.ends_at < own.at else claim

    async def _publish(self, claim: JobClaimed) -> None:
        encoded = cloudevents.encode(claim)
        key = claim.job_id.encode()
        await self._producer.send(self._topic, key, encoded.value, encoded.headers)


class _JobLock:
    """A lock that counts its users, so that it is dropped with the last one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def _check_same(
    owner: str | None, fingerprint: str, first_owner: str | None, first_fingerprint: str | None
) -> None:
    """Raise Problem unless a request, and the first one under its id, ask for the same job."""
    if first_owner != owner:
        raise id_taken()
    if first_fingerprint != fingerprint:
        raise repeat_differs()


def id_taken() -> Problem:
    """Make the 409 for an id that another owner's job has; it says nothing of that job."""
    return Problem(
        409, "id_taken", "This id cannot be used. Nothing was queued; use another one, such as a "
        "random UUID.",
    )  # fmt: skip


def repeat_differs() -> Problem:
    """Make the 422 for an id or key that stands for another request."""
    return Problem(
        422,
        "repeat_differs",
        "This id or Idempotency-Key was used before for a request that asked for something else. "
        "Nothing was queued; use a new one.",
    )


def _claim_unread() -> Problem:
    return Problem(
        503,
        "projection_behind",
        "The server could not make sure in time that no other request has this id. "
        "Nothing was queued. Try again shortly.",
        headers={"Retry-After": RETRY_AFTER_S},
    )
