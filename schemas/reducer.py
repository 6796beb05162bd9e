"""The one judge of a job's state: folds facts, in any order and any number of repeats.

Laws, each property-tested: an ended job never changes again; a repeated fact changes nothing;
facts of different items commute; of a cancel request and the last item's end, the first decides.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.errors import JobError
from schemas.events import (
    CancelRequested,
    Fact,
    ItemFact,
    ItemFailed,
    ItemFinished,
    ItemRetrying,
    ItemStarted,
    JobAccepted,
    JobFinished,
)
from schemas.jobs import (
    LETTERS,
    STATUS_OF_LETTER,
    Item,
    ItemInput,
    JobHeader,
    JobState,
    JobStatus,
    cancelled_error,
)

_HEADER = tuple(JobHeader.model_fields)


class Folded(NamedTuple):
    """What a fact made of a job: its state, the item concerned, and whether anything changed."""

    state: JobState
    item: Item | None
    changed: bool


def fold(state: JobState | None, item: Item | None, fact: Fact) -> Folded:
    """Fold one fact into a job.

    Args:
        state: the job before, None when the fact is the first of it.
        item: the item that the fact concerns, None when nothing was known of it.
        fact: what happened.

    The cost does not grow with the number of items but for the outcome string.
    """
    before = state or JobState.trusted(job_id=fact.job_id)
    if before.status.ended:
        return Folded(before, item, False)
    after = _with_header(before, fact.job) if fact.job is not None else before
    if isinstance(fact, CancelRequested):
        after = _cancel(after, fact)
    elif isinstance(fact, ItemFact):
        item, after = _fold_item(after, item, fact)
    elif not isinstance(fact, JobAccepted):
        raise TypeError(f"{type(fact).__name__} is not a fact the reducer knows")
    if after is before:
        return Folded(before, item, state is None)
    after = _settle(after, item if isinstance(fact, ItemFact) else None)
    return Folded(after.evolve(revision=before.revision + 1), item, True)


def _with_header(state: JobState, job: JobHeader) -> JobState:
    """The state with what was asked for filled in, if it was not known yet."""
    if state.total:
        return state
    update = {name: job.__dict__[name] for name in _HEADER}
    # Cut, too: a fact of an item that the job does not have may have come before its header.
    update["outcomes"] = state.outcomes.ljust(job.total, LETTERS[JobStatus.QUEUED])[: job.total]
    return state.evolve(**update)


def _rank(status: JobStatus, attempt: int) -> tuple[bool, int, bool]:
    """How far an item is: ended beats all, then the later attempt, then waiting after running."""
    return (status.ended, attempt, status is JobStatus.QUEUED)


_ITEM_STATUS = {
    ItemStarted: JobStatus.RUNNING,
    ItemRetrying: JobStatus.QUEUED,
    ItemFinished: JobStatus.SUCCEEDED,
    ItemFailed: JobStatus.FAILED,
}


def _fold_item(state: JobState, item: Item | None, fact: ItemFact) -> tuple[Item | None, JobState]:
    """The item after the fact, and the state with the item's letter; the same objects if stale."""
    if state.total and fact.index >= state.total:
        return item, state
    outcomes = state.outcomes.ljust(fact.index + 1, LETTERS[JobStatus.QUEUED])
    seen = STATUS_OF_LETTER[outcomes[fact.index]]
    status = _ITEM_STATUS[type(fact)]
    attempts = item.attempts if item else 0
    # The letter in the state is what counts: the item's own record may be ahead of it after a
    # crash between the two writes.
    if seen.ended or (
        item is not None
        and not item.status.ended
        and _rank(status, fact.attempt) <= _rank(item.status, attempts)
    ):
        return item, state
    told = fact.__dict__  # each kind of fact tells some of these
    item = Item.trusted(
        index=fact.index,
        filename=fact.filename,
        status=status,
        attempts=max(attempts, fact.attempt),
        result=told.get("result"),
        error=told.get("error"),
        timings_ms=told.get("timings_ms", {}),
        started_at=told.get("started_at")
        or (fact.at if status is JobStatus.RUNNING else item.started_at if item else None),
        finished_at=fact.at if status.ended else None,
        model=told.get("model"),
    )
    letters = outcomes[: fact.index] + LETTERS[status] + outcomes[fact.index + 1 :]
    return item, state.evolve(outcomes=letters)


def _cancel(state: JobState, fact: CancelRequested) -> JobState:
    """Every item that has not ended is cancelled; those that have keep their outcome."""
    left = str.maketrans({LETTERS[JobStatus.QUEUED]: "c", LETTERS[JobStatus.RUNNING]: "c"})
    return state.model_copy(
        update={
            "outcomes": state.outcomes.translate(left),
            "status": JobStatus.CANCELLED,
            "error": cancelled_error(),
            "finished_at": fact.at,
        }
    )


def _settle(state: JobState, item: Item | None) -> JobState:
    """Status and times that follow from the outcomes."""
    update: dict[str, object] = {}
    if item is not None:
        update["attempts"] = max(state.attempts, item.attempts)
        if item.started_at and (state.started_at is None or item.started_at < state.started_at):
            update["started_at"] = item.started_at
        if item.model is not None and item.model != state.model:
            update["model"] = _first_model(state.model, item.model)
    if not state.status.ended:
        update |= _status(state, item)
    return state.evolve(**update) if update else state


def _first_model(known: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """The model that stands for the job, whichever item of several was heard of first."""
    if known is None:
        return other
    return min(known, other, key=lambda model: json.dumps(model, sort_keys=True))


def _status(state: JobState, item: Item | None) -> dict[str, object]:
    """What the outcomes say of the whole job that has not ended yet."""
    outcomes = state.outcomes
    update: dict[str, object] = {}
    if item is not None and item.finished_at:
        # The latest end of any item, whatever order the facts came in.
        update["finished_at"] = max(state.finished_at or "", item.finished_at)
    if state.total and not outcomes.count(".") and not outcomes.count("r"):
        failed = outcomes.count("f") == state.total
        update["status"] = JobStatus.FAILED if failed else JobStatus.SUCCEEDED
    elif outcomes.strip("."):
        update["status"] = JobStatus.RUNNING
    else:
        update["status"] = JobStatus.QUEUED
    return update


def complete_items(
    state: JobState, known: dict[int, Item], inputs: tuple[ItemInput, ...] = ()
) -> tuple[Item, ...]:
    """All items of a job in order: the known ones, and for the rest what the outcomes say."""
    items = []
    for index, letter in enumerate(state.outcomes):
        item = known.get(index)
        status = STATUS_OF_LETTER[letter]
        if item is None or item.status is not status:
            filename = inputs[index].filename if index < len(inputs) else None
            item = Item(
                index=index,
                filename=item.filename if item else filename,
                status=status,
                attempts=item.attempts if item else 0,
                error=cancelled_error() if status is JobStatus.CANCELLED else None,
            )
        items.append(item)
    return tuple(items)


def with_items(state: JobState, items: tuple[Item, ...]) -> JobState:
    """An ended job with its items, and the error that follows from them."""
    update: dict[str, object] = {"items": items}
    if state.status is JobStatus.FAILED:
        update["error"] = job_error(items)
    return state.evolve(**update)


def job_error(items: tuple[Item, ...]) -> JobError | None:
    """The error of a job whose every item failed: the first item's, told for the whole job."""
    first = next((item.error for item in items if item.error), None)
    if first is None or len(items) == 1:
        return first
    return first.model_copy(
        update={"message": f"All {len(items)} items failed. The first: {first.message}"}
    )


def finished_event(state: JobState) -> JobFinished:
    """The terminal event of an ended job whose items are filled in.

    Raises:
        ValueError: the job has not ended.
    """
    if not state.status.ended or state.finished_at is None:
        raise ValueError(f"job {state.job_id} has not ended")
    return JobFinished.trusted(
        job_id=state.job_id,
        status=state.status,
        operation=state.operation,
        params=state.params,
        pipeline=state.pipeline,
        priority=state.priority,
        progress=state.progress,
        items=state.items,
        error=state.error,
        attempts=state.attempts,
        created_at=state.created_at,
        started_at=state.started_at,
        finished_at=state.finished_at,
        metadata=state.metadata,
        model=state.model,
        webhook=state.webhook,
        dialect=state.dialect,
        traceparent=state.traceparent,
    )
