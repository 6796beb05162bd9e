"""The one way to make a job: checked, stored, published, and only then answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import upload_prefix
from imagemill.storage.asynchronous import AsyncStore
from producer_api.access.caller import Caller
from producer_api.access.visible import VisibleJobs
from producer_api.http.forms import SubmitBody, WebhookBody
from producer_api.http.rate_limits import LimitState
from producer_api.jobs.cancellation import Canceller
from producer_api.jobs.deduplication import Deduplicator
from producer_api.jobs.fingerprint import fingerprint
from producer_api.jobs.inputs import check_count, store_inputs
from producer_api.jobs.limits import RequestLimits, check_queue_limit
from producer_api.jobs.permission import check_permitted, limited_priority
from producer_api.jobs.plan import ResolvedOperations, find_template, resolve_operations
from producer_api.jobs.publication import JobPublisher
from producer_api.jobs.quotas import DailyQuotas
from producer_api.jobs.staging import Staging
from producer_api.read_model.read_model import ReadModel
from producer_api.read_model.records import JobRecord
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput, Job, Priority, Webhook, WebhookStyle
from schemas.times import DAY_S, from_epoch

# Fields of a request that its job has unchanged, under the same name.
_SHARED = SubmitBody.model_fields.keys() & Job.model_fields.keys() - {
    "operation",
    "params",
    "priority",
    "webhook",
}


@dataclass(frozen=True)
class SubmitRequest:
    """A request for a job; its files are in the staging beside it.

    `keyed`: the client chose the job's id or key, so a repeat finds the job that there is.
    """

    job_id: str
    body: SubmitBody
    caller: Caller
    keyed: bool = False
    dialect: str | None = None
    webhook_style: WebhookStyle | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Submission:
    """The job of a request; `repeat` if an earlier request made it."""

    record: JobRecord
    repeat: bool
    limits: tuple[LimitState, ...] = ()
    """The sender's daily quotas, as they are after the job."""


class Submitter:
    """Turns requests into jobs. All routes and dialects use it."""

    def __init__(
        self,
        settings: ApiSettings,
        store: AsyncStore,
        producer: AsyncProducer,
        read_model: ReadModel,
        canceller: Canceller,
    ) -> None:
        self.limits = RequestLimits.of(settings)
        self._settings = settings
        self._store = store
        self._read_model = read_model
        self._quotas = DailyQuotas(read_model)
        self._deduplicator = Deduplicator(settings, producer, read_model)
        self._publisher = JobPublisher(settings, producer, read_model, canceller)

    def check_open(self, caller: Caller, *, keyed: bool = False) -> None:
        """Raise Problem (429) if no job of the caller can be queued now.

        To call before a body is read, which takes long for many images. A keyed request may repeat
        one that is queued, which needs no quota.
        """
        check_queue_limit(self._read_model.queued, self._settings.queue_limit)
        if not keyed:
            self._quotas.check_left(caller)

    def staging(self, job_id: str, *, keyed: bool = False) -> Staging:
        """Open the place of a request's files while they are received."""
        prefix = upload_prefix(job_id)
        if keyed:
            # Two senders of one client-chosen id must not overwrite each other's files.
            prefix += f"{time.time_ns():x}-"
        return Staging(self._store, prefix, self.limits.image, self._settings.upload_memory_bytes)

    async def submit(self, request: SubmitRequest, staging: Staging) -> Submission:
        """Queue the job, or find the one that a keyed request repeats.

        Raises:
            Problem: 403 for what the caller may not ask for; 409 or 422 when the id or key stands
                for another request; 413 and 422 for what cannot be queued; 429 for more than its
                daily quotas; 503 when it is not known whether a keyed one was queued.
            ImageRejected, KafkaUnavailable, ReadModelBehind, StoreUnavailable: nothing was queued
                and no file stays.
        """
        # 1. Check everything that needs no file.
        body, job_id = request.body, request.job_id
        check_permitted(body, request.caller)
        jobs = VisibleJobs(self._read_model, request.caller)
        template = await find_template(jobs, body.template)
        operations = resolve_operations(body, template)
        count = len(staging.images) + len(body.inputs)
        check_count(operations, count, self._settings.max_items)
        # 2. Store and publish at once what no other request can repeat.
        if not request.keyed:
            return await self._queue(request, operations, staging, None)
        # 3. Under an id or key: find an earlier request for the same, here or at another API.
        digest = fingerprint(body, operations, staging.images)
        async with self._deduplicator.job_lock(job_id):
            known = await self._deduplicator.known(job_id, request.caller.owner, digest)
            if known is not None:
                return Submission(jobs.shown(known) or known, True)
            return await self._queue(request, operations, staging, digest)

    async def _queue(
        self,
        request: SubmitRequest,
        operations: ResolvedOperations,
        staging: Staging,
        digest: str | None,
    ) -> Submission:
        caller, job_id = request.caller, request.job_id
        inputs = await store_inputs(
            staging, request.body.inputs, caller.owner, self._store, self.limits
        )
        with self._quotas.reserve(caller, job_id, inputs):
            if digest is not None:
                # After the files are stored: a claim blocks the id for others, so it comes last.
                earlier = await self._deduplicator.first(job_id, caller.owner, digest)
                if earlier is not None:
                    self._quotas.release(job_id)
                    jobs = VisibleJobs(self._read_model, caller)
                    return Submission(jobs.shown(earlier) or earlier, True)
            lifetime_s = self._settings.retention_days * DAY_S
            job = job_of(request, operations, inputs, digest, lifetime_s)
            await self._publisher.publish(job, staging)
        return Submission(JobRecord.of_submission(job), False, self._quotas.states(caller))


def job_of(
    request: SubmitRequest,
    operations: ResolvedOperations,
    inputs: tuple[ItemInput, ...],
    digest: str | None,
    max_lifetime_s: float,
) -> JobSubmitted:
    """Make the job of a request; it expires after `max_lifetime_s` seconds at the latest."""
    body = request.body
    created = time.time()
    expires_at = None
    if body.expires_in is not None:
        expires_at = from_epoch(created + min(body.expires_in, max_lifetime_s))
    shared: dict[str, Any] = {name: getattr(body, name) for name in _SHARED}
    return JobSubmitted(
        **shared,
        job_id=request.job_id,
        operation=operations.operation,
        params=operations.params,
        pipeline=operations.pipeline,
        priority=body.priority or limited_priority(Priority.NORMAL, request.caller),
        total=max(1, len(inputs)),
        created_at=from_epoch(created),
        webhook=_webhook(body.webhook, request.webhook_style),
        dialect=request.dialect,
        expires_at=expires_at,
        traceparent=request.traceparent,
        owner=request.caller.owner,
        weight=request.caller.weight,
        fingerprint=digest,
        inputs=inputs,
    )


def _webhook(body: WebhookBody | None, style: WebhookStyle | None) -> Webhook | None:
    return None if body is None else Webhook(**dict(body), style=style)
