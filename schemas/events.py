"""The events: what is published to priority topics, and the facts the track agent folds."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from schemas.errors import JobError
from schemas.jobs import (
    MAX_ITEMS,
    Frozen,
    Item,
    ItemInput,
    Job,
    JobId,
    JobStatus,
    Progress,
    Webhook,
)
from schemas.times import Timestamp

_HEADER = tuple(Job.model_fields)
# Far above any setting: others may write numbers of thousands of digits.
MAX_ATTEMPTS = 1_000_000


class Event(Frozen):
    """An event of one job. `TYPE` is its CloudEvents type; `event_id` its CloudEvents id.

    The id is derived from what happened, never random, so a repeat after a crash is recognisable.
    """

    TYPE: ClassVar[str]
    job_id: JobId

    @property
    def event_id(self) -> str:
        """Unique to what happened, the same for every repeat of it."""
        return f"{self.job_id}/{self.TYPE.split('.', 2)[2]}"

    @property
    def trace(self) -> str | None:
        """The traceparent of the request that began it, where known."""
        return None


class JobSubmitted(Job):
    """A job as the API accepted it; one message a job on its priority topic."""

    TYPE: ClassVar[str] = "io.imagemill.job.submitted.v1"
    total: int = Field(ge=1, le=MAX_ITEMS)
    inputs: tuple[ItemInput, ...] = ()

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return f"{self.job_id}/job.submitted.v1"

    @property
    def trace(self) -> str | None:
        """As Event.trace."""
        return self.traceparent

    def header(self) -> Job:
        """The job without its inputs."""
        known = self.__dict__
        return Job.of({name: known[name] for name in _HEADER})


class JobClaimed(Event):
    """A request with an id of the client's choosing, before its job: the first claim wins.

    Any API may take the request. Which of two that ask for different things under one id is the
    first, the log's order decides: each API reads all claims and publishes the job only after its
    own, or one with the same fingerprint, was the first within `LASTS_S`.
    """

    TYPE: ClassVar[str] = "io.imagemill.job.claimed.v1"
    # By then the job is in the log, or the API died: the id is free again. Far longer than any API
    # takes from its claim to its job.
    LASTS_S: ClassVar[float] = 600.0
    claim_id: str = Field(min_length=1, max_length=128)
    fingerprint: str = Field(min_length=1, max_length=128)
    at: Timestamp = Field(min_length=1)

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return f"{self.job_id}/job.claimed.v1/{self.claim_id}"


class ItemQueued(Event):
    """One item of a batch to run, or any item to run again (`attempt` > 1, not before `due_at`)."""

    TYPE: ClassVar[str] = "io.imagemill.item.queued.v1"
    index: int = Field(ge=0, lt=MAX_ITEMS)
    attempt: int = Field(1, ge=1, le=MAX_ATTEMPTS)
    job: Job
    input: ItemInput
    due_at: Timestamp | None = None

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return f"{self.job_id}/{self.index}/item.queued.v1/{self.attempt}"

    @property
    def trace(self) -> str | None:
        """As Event.trace."""
        return self.job.traceparent


class Fact(Event):
    """Something that happened to a job. `job` is its header where the reader may not know it."""

    at: Timestamp = Field(min_length=1)
    job: Job | None = None

    @property
    def trace(self) -> str | None:
        """As Event.trace."""
        return self.job.traceparent if self.job is not None else None


class JobAccepted(Fact):
    """A batch was fanned out: its header, before any fact of its items."""

    TYPE: ClassVar[str] = "io.imagemill.job.accepted.v1"
    job: Job


class CancelRequested(Fact):
    """Somebody asked for the job to be cancelled; carries the whole job, it may be news to all."""

    TYPE: ClassVar[str] = "io.imagemill.job.cancel-requested.v1"
    job: JobSubmitted


class JobExpired(Fact):
    """A job, ended before `at`, has outlived its time then: its state is to be deleted."""

    TYPE: ClassVar[str] = "io.imagemill.job.expired.v1"


class ItemFact(Fact):
    """Something that happened to one item in one attempt."""

    index: int = Field(ge=0, lt=MAX_ITEMS)
    attempt: int = Field(1, ge=1, le=MAX_ATTEMPTS)
    filename: str | None = None

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return f"{self.job_id}/{self.index}/{self.TYPE.split('.', 2)[2]}/{self.attempt}"


class ItemStarted(ItemFact):
    """An attempt runs; sent only for items still running after 50 ms."""

    TYPE: ClassVar[str] = "io.imagemill.item.started.v1"
    worker: str | None = None


class ItemRetrying(ItemFact):
    """An attempt failed for a transient reason; the next one is due at `due_at`."""

    TYPE: ClassVar[str] = "io.imagemill.item.retrying.v1"
    error: JobError
    due_at: Timestamp


class ItemFinished(ItemFact):
    """An item's result is stored."""

    TYPE: ClassVar[str] = "io.imagemill.item.finished.v1"
    started_at: Timestamp
    result: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    timings_ms: dict[str, float]


class ItemFailed(ItemFact):
    """An item will not be tried again.

    `unreadable`: nothing was tried, for a message of the queue could not be read: the submission
    of a job, of which `job` is what could be read, or that of an item's attempt, without `job`.
    Anybody may have written it, so it counts only where nothing is known yet of that job, or of
    that attempt.
    """

    TYPE: ClassVar[str] = "io.imagemill.item.failed.v1"
    started_at: Timestamp | None = None
    error: JobError
    timings_ms: dict[str, float]
    unreadable: bool = False

    @property
    def event_id(self) -> str:
        """As Event.event_id."""
        return super().event_id + ("/unreadable" if self.unreadable else "")


class JobFinished(Event):
    """The terminal event of a job, public on `jobs.results`."""

    TYPE: ClassVar[str] = "io.imagemill.job.finished.v1"
    status: JobStatus
    operation: str
    params: dict[str, Any]
    pipeline: tuple[Any, ...] = ()
    priority: str
    progress: Progress
    items: tuple[Item, ...]
    error: JobError | None
    attempts: int
    created_at: str
    started_at: str | None
    finished_at: str
    metadata: dict[str, Any]
    model: dict[str, Any] | None
    webhook: Webhook | None = None
    dialect: str | None = None
    traceparent: str | None = None

    @property
    def event_id(self) -> str:
        """Derived from job and outcome: every repeat carries the same."""
        return f"{self.job_id}/job.finished.v1/{self.status}"

    @property
    def trace(self) -> str | None:
        """As Event.trace."""
        return self.traceparent


AnyEvent = JobSubmitted | Event
EVENTS: dict[str, type[JobSubmitted] | type[Event]] = {
    event.TYPE: event
    for event in (
        JobSubmitted,
        JobClaimed,
        ItemQueued,
        JobAccepted,
        CancelRequested,
        JobExpired,
        ItemStarted,
        ItemRetrying,
        ItemFinished,
        ItemFailed,
        JobFinished,
    )
}
