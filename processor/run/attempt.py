"""The pure steps of the item's way: from a message to an attempt, from an outcome to events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from processor.run.item import ItemOutcome, ItemTask
from processor.run.retry import RetryPolicy
from schemas import cloudevents
from schemas.cloudevents import Encoded
from schemas.errors import ErrorCode, JobError
from schemas.events import (
    ItemFailed,
    ItemFinished,
    ItemQueued,
    ItemRetrying,
    ItemStarted,
    JobAccepted,
    JobSubmitted,
)
from schemas.jobs import ItemInput, Job
from schemas.times import elapsed_ms, from_epoch, now
from schemas.topics import MAX_MESSAGE_BYTES

# Largest encoded ItemFinished, and largest JSON of job header and input in an event. A quarter of
# a message, because the state of a job holds all of that in one message.
_MAX_EVENT_BYTES = MAX_MESSAGE_BYTES // 4

_NO_INPUT = ItemInput()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one item."""

    job: Job
    index: int
    number: int
    """1 is the first."""
    input: ItemInput
    started: float
    """Unix time, seconds."""

    @property
    def single(self) -> bool:
        """True for a job of one: item and job share one key, so one partition on every topic."""
        return self.job.total == 1

    def task(self) -> ItemTask:
        """Describe the attempt to an inference process."""
        return ItemTask(
            job_id=self.job.job_id,
            index=self.index,
            steps=tuple((step.operation, step.params) for step in self.job.steps),
            key=self.input.key,
            url=self.input.url,
            filename=self.input.filename,
        )

    def started_event(self, worker_id: str) -> ItemStarted:
        """Make the event of an attempt that runs."""
        return ItemStarted.trusted(
            **self.event_fields(), at=from_epoch(self.started), worker=worker_id
        )

    def event_fields(self) -> dict[str, Any]:
        """Fields that all events of the attempt share.

        The events of a job of one carry the job's header: the tracker needs no other event.
        """
        return {
            "job_id": self.job.job_id,
            "job": self.job if self.single else None,
            "index": self.index,
            "attempt": self.number,
            "filename": self.input.filename,
        }


def decode(message: Any) -> JobSubmitted | ItemQueued:
    """Decode a message of a priority topic.

    Raises:
        DecodeError: it holds no job and no item, or one that its events cannot repeat.
    """
    event = cloudevents.decode(message.headers, message.value)
    if not isinstance(event, JobSubmitted | ItemQueued):
        raise cloudevents.DecodeError(f"{event.TYPE} does not belong on this topic")
    if len(message.value) > _MAX_EVENT_BYTES and _repeated_bytes(event) > _MAX_EVENT_BYTES:
        reason = f"params, metadata and an input take more than {_MAX_EVENT_BYTES} bytes"
        raise cloudevents.DecodeError(reason)
    if isinstance(event, JobSubmitted) and event.total != max(1, len(event.inputs)):
        raise cloudevents.DecodeError(f"{event.total} items announced, {len(event.inputs)} inputs")
    return event


def _repeated_bytes(event: JobSubmitted | ItemQueued) -> int:
    """Size in bytes of job header and largest input, as the item's events repeat them."""
    if isinstance(event, ItemQueued):
        job, inputs = event.job, (event.input,)
    else:
        job, inputs = event.header(), event.inputs
    largest = max((len(source.model_dump_json()) for source in inputs), default=0)
    return len(job.model_dump_json()) + largest


def attempt_of(event: JobSubmitted | ItemQueued, started: float) -> Attempt:
    """Make the attempt that an item, or a job of one, asks for."""
    if isinstance(event, ItemQueued):
        return Attempt(event.job, event.index, event.attempt, event.input, started)
    source = event.inputs[0] if event.inputs else _NO_INPUT
    return Attempt(event.header(), 0, 1, source, started)


def accepted_event(job: JobSubmitted) -> JobAccepted:
    """Make the event that introduces a batch to the tracker."""
    return JobAccepted.trusted(job_id=job.job_id, at=now(), job=job.header())


def items_of(job: JobSubmitted) -> Iterator[ItemQueued]:
    """Split a batch into its items."""
    header = job.header()
    for index, source in enumerate(job.inputs):
        yield ItemQueued.trusted(
            job_id=job.job_id, index=index, attempt=1, job=header, input=source, due_at=None
        )


def events_of(
    attempt: Attempt, outcome: ItemOutcome, ended: float, retry: RetryPolicy, source: str
) -> tuple[Encoded, ItemQueued | None]:
    """Make the event of an outcome, and the next attempt if there is one.

    Args:
        ended: Unix time of the outcome, seconds.
        source: CloudEvents source of the event.
    """
    error = outcome.error
    if error is not None and not outcome.permanent:
        delay_s = retry.delay_s(attempt.number, error)
        if delay_s is not None:
            return _retry_of(attempt, error, ended, delay_s, source)
    return _end_of(attempt, outcome, ended, source), None


def _retry_of(
    attempt: Attempt, error: JobError, ended: float, delay_s: float, source: str
) -> tuple[Encoded, ItemQueued]:
    due_at = from_epoch(ended + delay_s)
    retrying = ItemRetrying.trusted(
        **attempt.event_fields(), at=from_epoch(ended), error=error, due_at=due_at
    )
    again = ItemQueued.trusted(
        job_id=attempt.job.job_id,
        index=attempt.index,
        attempt=attempt.number + 1,
        job=attempt.job,
        input=attempt.input,
        due_at=due_at,
    )
    return cloudevents.encode(retrying, source), again


def _end_of(attempt: Attempt, outcome: ItemOutcome, ended: float, source: str) -> Encoded:
    """Encode the item's end; a result that no event can hold is a failure."""
    started_at = from_epoch(attempt.started)
    queued_ms = elapsed_ms(attempt.job.created_at, started_at)
    fields = attempt.event_fields() | {
        "at": from_epoch(ended),
        "started_at": started_at,
        "timings_ms": {"queued": queued_ms, **outcome.timings_ms},
    }
    error = outcome.error
    if error is None:
        finished = ItemFinished.trusted(**fields, result=outcome.result, model=outcome.model)
        try:
            encoded = cloudevents.encode(finished, source)
        except ValueError as problem:
            error = JobError.of(ErrorCode.INTERNAL, f"The result is not JSON: {problem}")
        else:
            unfit = _unfit(encoded, outcome)
            if unfit is None:
                return encoded
            error = JobError.of(ErrorCode.INTERNAL, f"The result's data {unfit}.")
    return cloudevents.encode(ItemFailed.trusted(**fields, error=error), source)


def _unfit(finished: Encoded, outcome: ItemOutcome) -> str | None:
    """Say why other events could not repeat this one; None if they can."""
    size = len(finished.value)
    if size > _MAX_EVENT_BYTES:
        return f"takes {size} bytes, more than the {_MAX_EVENT_BYTES} of a message"
    if outcome.result and not cloudevents.can_be_nested(finished.value):
        return "is nested too deep for a message"
    return None
