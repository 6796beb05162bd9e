"""The events on the topics: requests, the facts that the tracker applies, and the job's end."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from schemas.base import Frozen
from schemas.errors import JobError
from schemas.jobs import (
    MAX_ATTEMPTS,
    MAX_ITEMS,
    FinishedJob,
    ItemInput,
    Job,
    JobId,
    JobState,
)
from schemas.times import Timestamp

_HEADER = tuple(Job.model_fields)


class Event(Frozen):
    """An event of one job. `TYPE` is its CloudEvents type; `event_id` its CloudEvents id.

    The id is derived from the content, never random, so a repeat after a crash is recognisable.
    """

    TYPE: ClassVar[str]
    job_id: JobId = Field(description="Id of the job: 1 to 128 letters, digits, `.`, `_` and `-`.")

    @property
    def event_id(self) -> str:
        """`<job id>/<type>`: the id of an event that a job has once."""
        return f"{self.job_id}/{self.TYPE.split('.', 2)[2]}"

    @property
    def trace(self) -> str | None:
        """Traceparent of the request that the event goes back to, None if unknown."""
        return None


class JobSubmitted(Job):
    """A job as the API accepted it; one message a job on its priority topic."""

    TYPE: ClassVar[str] = "io.imagemill.job.submitted.v1"
    total: int = Field(
        ge=1, le=MAX_ITEMS, description=f"Number of items, 1 to {MAX_ITEMS}: one an input."
    )
    inputs: tuple[ItemInput, ...] = Field(
        (), description="Images of the items, in order; empty for an operation without an image."
    )

    @property
    def event_id(self) -> str:
        """`<job id>/job.submitted.v1`: a job is submitted once."""
        return f"{self.job_id}/job.submitted.v1"

    @property
    def trace(self) -> str | None:
        """Traceparent of the request, None if it had none."""
        return self.traceparent

    def header(self) -> Job:
        """Return the job without its inputs."""
        known = self.__dict__
        return Job.from_all({name: known[name] for name in _HEADER})


class JobClaimed(Event):
    """A request with an id of the client's choosing, before its job: the first claim wins.

    Any API may take such a request. If two ask for different things under one id, the order of
    their claims in the log decides: each API reads all claims, and publishes the job only if its
    own claim, or one with the same fingerprint, was the first within `LASTS_S` seconds.
    """

    TYPE: ClassVar[str] = "io.imagemill.job.claimed.v1"
    # By then the job is in the log, or the API died: the id is free again. Far longer than any API
    # takes from its claim to its job.
    LASTS_S: ClassVar[float] = 600.0
    claim_id: str = Field(
        min_length=1, max_length=128, description="Id of the claim, unique to the request."
    )
    fingerprint: str = Field(
        min_length=1,
        max_length=128,
        description="SHA-256 of the request; two claims with the same one ask for the same job.",
    )
    at: Timestamp = Field(
        min_length=1, description="Time of the claim, RFC 3339 in UTC; it counts for 10 minutes."
    )
    owner: str | None = Field(
        None, description="Owner of the job to make; the claims of others are refused, not joined."
    )

    @property
    def event_id(self) -> str:
        """`<job id>/job.claimed.v1/<claim id>`: each request claims the id once."""
        return f"{self.job_id}/job.claimed.v1/{self.claim_id}"


class ItemQueued(Event):
    """One item of a batch to run, or any item to run again (`attempt` > 1, not before `due_at`)."""

    TYPE: ClassVar[str] = "io.imagemill.item.queued.v1"
    index: int = Field(
        ge=0, lt=MAX_ITEMS, description="Place of the item in the job, counted from 0."
    )
    attempt: int = Field(
        1, ge=1, le=MAX_ATTEMPTS, description="Number of the attempt to run, counted from 1."
    )
    job: Job = Field(description="The job's request, without its inputs.")
    input: ItemInput = Field(description="Image of the item.")
    due_at: Timestamp | None = Field(
        None, description="Time before which the item must not run, RFC 3339 in UTC; null: at once."
    )

    @property
    def event_id(self) -> str:
        """`<job id>/<index>/item.queued.v1/<attempt>`: each attempt is queued once."""
        return f"{self.job_id}/{self.index}/item.queued.v1/{self.attempt}"

    @property
    def trace(self) -> str | None:
        """Traceparent of the job's request, None if it had none."""
        return self.job.traceparent


class Fact(Event):
    """Something that happened to a job."""

    at: Timestamp = Field(min_length=1, description="Time at which it happened, RFC 3339 in UTC.")
    job: Job | None = Field(
        None, description="The job's request, where a reader may not know it yet; else null."
    )

    @property
    def trace(self) -> str | None:
        """Traceparent of the job's request, None if it had none or `job` is None."""
        return self.job.traceparent if self.job is not None else None


class JobAccepted(Fact):
    """A batch was split into its items; comes before any fact of them."""

    TYPE: ClassVar[str] = "io.imagemill.job.accepted.v1"
    job: Job = Field(description="The job's request, without its inputs.")


class CancelRequested(Fact):
    """A client asked for the job to be cancelled."""

    TYPE: ClassVar[str] = "io.imagemill.job.cancel-requested.v1"
    job: JobSubmitted = Field(
        description="The whole job, since the reader may not have heard of it before."
    )


class JobExpired(Fact):
    """A job that ended before `at` has passed its retention: its state is to be deleted."""

    TYPE: ClassVar[str] = "io.imagemill.job.expired.v1"


class ItemFact(Fact):
    """Something that happened to one item in one attempt."""

    index: int = Field(
        ge=0, lt=MAX_ITEMS, description="Place of the item in the job, counted from 0."
    )
    attempt: int = Field(
        1, ge=1, le=MAX_ATTEMPTS, description="Number of the attempt, counted from 1."
    )
    filename: str | None = Field(
        None, description="Name of the input file as the client gave it; null if unknown."
    )

    @property
    def event_id(self) -> str:
        """`<job id>/<index>/<type>/<attempt>`: each attempt has one fact of a type."""
        return f"{self.job_id}/{self.index}/{self.TYPE.split('.', 2)[2]}/{self.attempt}"


class ItemStarted(ItemFact):
    """An attempt runs; sent only for items still running after 50 ms."""

    TYPE: ClassVar[str] = "io.imagemill.item.started.v1"
    worker: str | None = Field(None, description="Id of the worker that runs the attempt.")


class ItemRetrying(ItemFact):
    """An attempt failed for a transient reason; the next one is due at `due_at`."""

    TYPE: ClassVar[str] = "io.imagemill.item.retrying.v1"
    error: JobError = Field(description="Reason why the attempt failed.")
    due_at: Timestamp = Field(
        description="Time before which the next attempt must not run, RFC 3339 in UTC."
    )


class ItemFinished(ItemFact):
    """An attempt succeeded, and the item's result is stored."""

    TYPE: ClassVar[str] = "io.imagemill.item.finished.v1"
    started_at: Timestamp = Field(description="Start of the attempt, RFC 3339 in UTC.")
    result: dict[str, Any] | None = Field(
        None, description="Result of the item, as in Item; null if the operation has none."
    )
    model: dict[str, Any] | None = Field(
        None, description="Model that was run, as in Item; null for none."
    )
    timings_ms: dict[str, float] = Field(
        description="Milliseconds spent in each phase of the attempt, such as `queued` and `infer`."
    )


class ItemFailed(ItemFact):
    """An item will not be tried again.

    `unreadable`: nothing was tried, since a message of the queue could not be decoded: the
    submission of a job (`job` is then the part that could be read), or an item's attempt (without
    `job`). Anybody may have written that message, so the fact counts only where nothing is known
    yet of that job, or of that attempt.
    """

    TYPE: ClassVar[str] = "io.imagemill.item.failed.v1"
    started_at: Timestamp | None = Field(
        None, description="Start of the last attempt, RFC 3339 in UTC; null if nothing was tried."
    )
    error: JobError = Field(description="Reason why the item failed.")
    timings_ms: dict[str, float] = Field(
        description="Milliseconds spent in each phase of the last attempt."
    )
    unreadable: bool = Field(
        False, description="True if a message could not be decoded, so that nothing was tried."
    )

    @property
    def event_id(self) -> str:
        """`<job id>/<index>/item.failed.v1/<attempt>`, and `/unreadable` if nothing was tried."""
        return super().event_id + ("/unreadable" if self.unreadable else "")


class JobFinished(FinishedJob, Event):
    """The terminal event of a job, public on `jobs.results`."""

    TYPE: ClassVar[str] = "io.imagemill.job.finished.v1"

    @classmethod
    def of(cls, state: JobState) -> JobFinished:
        """Build the terminal event of an ended job whose items are filled in.

        Raises:
            ValueError: the job has not ended, or a field does not fit the contract.
        """
        if not state.status.ended or state.finished_at is None:
            raise ValueError(f"job {state.job_id} has not ended")
        return cls.model_validate({name: getattr(state, name) for name in _FINISHED})

    @property
    def event_id(self) -> str:
        """`<job id>/job.finished.v1/<status>`: every repeat carries the same (guarantee 2)."""
        return f"{self.job_id}/job.finished.v1/{self.status}"

    @property
    def trace(self) -> str | None:
        """Traceparent of the job's request, None if it had none."""
        return self.traceparent


_FINISHED = tuple(JobFinished.model_fields)

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
