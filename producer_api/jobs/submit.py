"""The one way to make a job: checked, stored, published, and only then answered."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from imagemill.images.check import ImageLimits, check_image
from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import (
    ObjectNotFound,
    StoredObject,
    loose_upload_key,
    upload_prefix,
)
from imagemill.storage.asynchronous import AsyncStore
from producer_api.http.forms import InputBody, SubmitBody
from producer_api.http.multipart import FormLimits, too_many_items
from producer_api.http.problems import RETRY_AFTER_S, Problem, field_problem
from producer_api.ids import new_id
from producer_api.jobs.cancellation import Canceller
from producer_api.jobs.deduplication import Deduplicator, repeat_differs
from producer_api.jobs.plan import ResolvedOperations, make_plan
from producer_api.jobs.staging import StagedImage, Staging
from producer_api.read_model.queries import JobRecord
from producer_api.read_model.read_model import ReadModel
from schemas import cloudevents
from schemas.errors import ErrorCode
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput, Priority, Webhook
from schemas.templates import Template
from schemas.times import DAY_S, from_epoch
from schemas.topics import MAX_MESSAGE_BYTES, PRIORITY_TOPICS

# Headers and framing of a message beside its value.
_MESSAGE_OVERHEAD = 64 * 1024
# An upload without a job is removed some time after this; a job must not lose it while it waits.
MAX_UPLOAD_AGE_S = DAY_S


@dataclass(frozen=True)
class SubmitRequest:
    """What a route makes of an HTTP request; the files are in the staging beside it.

    `keyed`: the client chose the job's id or key, so a repeat finds the job that there is.
    """

    job_id: str
    body: SubmitBody
    keyed: bool = False
    dialect: str | None = None
    webhook_style: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Submission:
    """The job; `repeat` when it was there before."""

    record: JobRecord
    repeat: bool


class Submitter:
    """Turns requests into jobs. All routes and dialects use it."""

    def __init__(
        self,
        settings: ApiSettings,
        store: AsyncStore,
        producer: AsyncProducer,
        projection: ReadModel,
        canceller: Canceller,
    ) -> None:
        self._settings = settings
        self._store = store
        self._producer = producer
        self._canceller = canceller
        self._projection = projection
        self._claims = Deduplicator(settings, producer, projection)
        self._turns: dict[str, _Turn] = {}
        self.image_limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        self.form_limits = FormLimits(
            settings.max_items, settings.max_field_bytes, settings.max_image_bytes
        )

    def new_id(self) -> str:
        """An id for a job whose client chose none."""
        return new_id()

    def admit(self) -> None:
        """Raises Problem (429) while the queue is full; called before a body is read."""
        if self._projection.queued >= self._settings.queue_limit:
            raise Problem(
                429,
                "queue_full",
                f"{self._settings.queue_limit} jobs wait already. Try again in a while.",
                headers={"Retry-After": "10"},
            )

    def staging(self, job_id: str, *, keyed: bool = False) -> Staging:
        """Where the files of a request go while they are received.

        Two senders of one client-chosen id must not overwrite each other's files.
        """
        prefix = upload_prefix(job_id)
        if keyed:
            prefix += f"{time.time_ns():x}-"
        memory = self._settings.upload_memory_bytes
        return Staging(self._store, prefix, self.image_limits, memory)

    async def submit(self, request: SubmitRequest, staging: Staging) -> Submission:
        """Queue the job, or find the one that a keyed request repeats.

        Raises:
            Problem: 409 or 422 when the id or key stands for another request; 413 and 422 for
                what cannot be queued; 503 when it is not known whether a keyed one was.
            KafkaUnavailable, StoreUnavailable: nothing was queued and no file stays.
        """
        plan = make_plan(request.body, await self._template(request.body.template))
        self._check_count(plan, request.body, staging.images)
        if not request.keyed:
            return await self._queue(request, plan, staging, None)
        fingerprint = _fingerprint(request, plan, staging.images)
        async with self._turn(request.job_id):
            found = await self._projection.find(request.job_id)
            if found is None:
                return await self._queue(request, plan, staging, fingerprint)
        if found.state.fingerprint != fingerprint:
            raise repeat_differs()
        return Submission(found, True)

    async def _template(self, name: str | None) -> Template | None:
        if name is None:
            return None
        template = await self._projection.template(name)
        if template is None:
            raise field_problem("template", f"there is no template {name!r}", code="not_found")
        return template

    def _check_count(
        self, plan: ResolvedOperations, body: SubmitBody, images: Sequence[StagedImage]
    ) -> None:
        count = len(images) + len(body.inputs)
        if count > self._settings.max_items:
            raise too_many_items(self._settings.max_items)
        if not count and plan.needs_image:
            raise Problem(
                422,
                str(ErrorCode.IMAGE_MISSING),
                "There is no image: send a file as image, or an image_url.",
                errors=[{"field": "image", "message": "missing"}],
            )

    async def _queue(
        self,
        request: SubmitRequest,
        plan: ResolvedOperations,
        staging: Staging,
        fingerprint: str | None,
    ) -> Submission:
        uploads = [await self._uploaded(entry) for entry in request.body.inputs]
        stored = await staging.commit()
        inputs = _inputs(staging.images, stored, uploads)
        if fingerprint is not None:
            others = await self._claims.win(request.job_id, fingerprint)
            if others is not None:
                return Submission(others, True)
        job = self._job(request, plan, inputs, fingerprint)
        await self._publish(job, staging)
        return Submission(JobRecord.of_submission(job), False)

    async def _uploaded(self, entry: InputBody) -> ItemInput:
        """An input that is no file of this request; what was uploaded before is checked now."""
        if entry.upload_id is None:
            return ItemInput(url=entry.url, filename=entry.filename)
        key = loose_upload_key(entry.upload_id)
        try:
            stat = await self._store.stat(key)
            if time.time() - stat.modified.timestamp() > MAX_UPLOAD_AGE_S:
                raise field_problem(
                    "inputs", f"upload {entry.upload_id} is too old", code="upload_expired"
                )
            if stat.bytes > self._settings.max_image_bytes:
                raise Problem(
                    413, str(ErrorCode.IMAGE_TOO_LARGE), f"Upload {entry.upload_id} is too large."
                )
            with await self._store.open(key) as file:
                facts = check_image(file, entry.filename, self.image_limits)
        except ObjectNotFound as error:
            raise field_problem(
                "inputs", f"nothing was uploaded as {entry.upload_id}", code="not_found"
            ) from error
        return ItemInput(
            key=key, filename=entry.filename, content_type=facts.content_type, bytes=facts.bytes
        )

    def _job(
        self,
        request: SubmitRequest,
        plan: ResolvedOperations,
        inputs: tuple[ItemInput, ...],
        fingerprint: str | None,
    ) -> JobSubmitted:
        body = request.body
        created = time.time()
        lifetime_s = self._settings.retention_days * DAY_S
        expires_at = None
        if body.expires_in is not None:
            expires_at = from_epoch(created + min(body.expires_in, lifetime_s))
        webhook = None
        if body.webhook is not None:
            webhook = Webhook(
                url=body.webhook.url, events=body.webhook.events, style=request.webhook_style
            )
        return JobSubmitted(
            job_id=request.job_id,
            operation=plan.operation,
            params=plan.params,
            pipeline=plan.pipeline,
            priority=body.priority or Priority.NORMAL,
            total=max(1, len(inputs)),
            created_at=from_epoch(created),
            webhook=webhook,
            metadata=body.metadata,
            template=body.template,
            dialect=request.dialect,
            expires_at=expires_at,
            traceparent=request.traceparent,
            fingerprint=fingerprint,
            inputs=inputs,
        )

    async def _publish(self, job: JobSubmitted, staging: Staging) -> None:
        encoded = cloudevents.encode(job)
        if len(encoded.value) > MAX_MESSAGE_BYTES - _MESSAGE_OVERHEAD:
            raise Problem(
                413, "body_too_large", "The job's URLs and metadata are too large together."
            )
        topic = self._settings.topic(PRIORITY_TOPICS[job.priority].name)
        self._projection.expect(job.job_id)
        try:
            await self._producer.send(topic, job.job_id.encode(), encoded.value, encoded.headers)
        except BaseException as error:
            self._projection.not_submitted(job.job_id)
            # A message that timed out may have been written all the same.
            if job.fingerprint is None:
                self._canceller.in_doubt(job.job_id)
                raise
            # Under an id of the client's it is what a repeat finds, at whichever API: then it
            # must be whole. A file that no job came to name goes as every other one.
            staging.keep()
            if isinstance(error, KafkaUnavailable):
                raise _unconfirmed() from error
            raise
        staging.keep()
        self._projection.submitted(job)

    @asynccontextmanager
    async def _turn(self, job_id: str) -> AsyncIterator[None]:
        """One request of an id at a time: the second finds what the first made."""
        turn = self._turns.setdefault(job_id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[job_id]


class _Turn:
    """A lock and how many use it, so that it goes with its last user."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


def _unconfirmed() -> Problem:
    return Problem(
        503,
        "broker_unavailable",
        "The message broker did not confirm the job in time; it may be queued or not. Send the "
        "same request with the same id or key again: that makes no second job.",
        headers={"Retry-After": RETRY_AFTER_S},
    )


def _inputs(
    images: Sequence[StagedImage], stored: Sequence[StoredObject], others: Sequence[ItemInput]
) -> tuple[ItemInput, ...]:
    """All inputs in the order in which the request named them."""
    by_index = {
        image.index: ItemInput(
            filename=image.filename,
            key=kept.key,
            content_type=image.facts.content_type,
            bytes=kept.bytes,
            sha256=kept.sha256,
        )
        for image, kept in zip(images, stored, strict=True)
    }
    rest = iter(others)
    count = len(images) + len(others)
    return tuple(by_index.get(index) or next(rest) for index in range(count))


def _fingerprint(
    request: SubmitRequest, plan: ResolvedOperations, images: Sequence[StagedImage]
) -> str:
    """A digest of what is asked for, whatever form it came in."""
    body = request.body
    asked = {
        "operation": plan.operation,
        "params": plan.params,
        "pipeline": [step.model_dump(mode="json") for step in plan.pipeline],
        "priority": body.priority,
        "webhook": body.webhook.model_dump(mode="json") if body.webhook else None,
        "metadata": body.metadata,
        "expires_in": body.expires_in,
        "inputs": [entry.model_dump(mode="json") for entry in body.inputs],
        "images": [[image.index, image.filename, image.writer.digest()] for image in images],
    }
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
