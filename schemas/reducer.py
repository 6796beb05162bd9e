"""The one judge of a job's state: folds facts, in any order and any number of repeats.

Laws, each property-tested: an ended job never changes again; a repeated fact changes nothing;
facts of different items commute; of a cancel request and the last item's end, the first decides;
what cannot be read ends nothing that is known to go on without it.
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
    Job,
    JobState,
    JobStatus,
    cancelled_error,
)

_HEADER = tuple(Job.model_fields)
_WAITING = LETTERS[JobStatus.QUEUED]


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
    if state is not None and state.status.ended:
        return Folded(state, item, False)
    before = state or JobState.trusted(job_id=fact.job_id)
    if isinstance(fact, ItemFailed) and fact.unreadable and _goes_on(state, item, fact):
        return Folded(before, item, False)
    # Worked on as one dict: a copy of the state for each step took half the time.
    draft = dict(before.__dict__)
    changed = fact.job is not None and _fill_header(draft, fact.job)
    own_item = None
    if isinstance(fact, CancelRequested):
        _cancel(draft, fact)
        changed = True
    elif isinstance(fact, ItemFact):
        moved = _fold_item(draft, item, fact)
        own_item = item = moved or item
        changed = changed or moved is not None
    elif not isinstance(fact, JobAccepted):
        raise TypeError(f"{type(fact).__name__} is not a fact the reducer knows")
    if not changed:
        return Folded(before, item, state is None)
    _settle(draft, own_item)
    draft["revision"] += 1
    return Folded(JobState.of(draft), item, True)


def _goes_on(state: JobState | None, item: Item | None, fact: ItemFailed) -> bool:
    """Whether the job goes on, or is none, whatever a message says that could not be read."""
    if fact.job is not None:
        return state is not None
    # A job is known before its items are queued, and a failed attempt before the next one is.
    if state is None or item is None:
        return state is None
    if item.status.ended:
        # A record ahead of the state: made by this very fact, or by one that comes again.
        return (item.finished_at, item.error) != (fact.at, fact.error)
    return fact.attempt <= item.attempts


def _fill_header(draft: dict[str, Any], job: Job) -> bool:
    """Fill in what was asked for; False when it was known already."""
    if draft["total"]:
        return False
    told = job.__dict__
    for name in _HEADER:
        draft[name] = told[name]
    # Cut, too: a fact of an item that the job does not have may have come before its header.
    draft["outcomes"] = draft["outcomes"].ljust(job.total, _WAITING)[: job.total]
    return True


def _rank(status: JobStatus, attempt: int) -> tuple[bool, int, bool]:
    """How far an item is: ended beats all, then the later attempt, then waiting after running."""
    return (status.ended, attempt, status is JobStatus.QUEUED)


_ITEM_STATUS = {
    ItemStarted: JobStatus.RUNNING,
    ItemRetrying: JobStatus.QUEUED,
    ItemFinished: JobStatus.SUCCEEDED,
    ItemFailed: JobStatus.FAILED,
}


def _fold_item(draft: dict[str, Any], item: Item | None, fact: ItemFact) -> Item | None:
    """The item after the fact, its letter in the draft; None when the fact is stale."""
    index = fact.index
    if draft["total"] and index >= draft["total"]:
        return None
    outcomes = draft["outcomes"].ljust(index + 1, _WAITING)
    status = _ITEM_STATUS[type(fact)]
    attempts = item.attempts if item else 0
    # The letter in the state is what counts: the item's own record may be ahead of it after a
    # crash between the two writes. Then its end comes again.
    if STATUS_OF_LETTER[outcomes[index]].ended or (
        item is not None
        and not (item.status.ended and status.ended)
        and _rank(status, fact.attempt) <= _rank(item.status, attempts)
    ):
        return None
    draft["outcomes"] = outcomes[:index] + LETTERS[status] + outcomes[index + 1 :]
    told = fact.__dict__  # each kind of fact tells some of these
    return Item.trusted(
        index=index,
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


def _cancel(draft: dict[str, Any], fact: CancelRequested) -> None:
    """Every item that has not ended is cancelled; those that have keep their outcome."""
    left = str.maketrans({_WAITING: "c", LETTERS[JobStatus.RUNNING]: "c"})
    draft["outcomes"] = draft["outcomes"].translate(left)
    draft["status"] = JobStatus.CANCELLED
    draft["error"] = cancelled_error()
    draft["finished_at"] = fact.at


def _settle(draft: dict[str, Any], item: Item | None) -> None:
    """Status and times that follow from the outcomes."""
    if item is not None:
        draft["attempts"] = max(draft["attempts"], item.attempts)
        started_at = draft["started_at"]
        if item.started_at and (started_at is None or item.started_at < started_at):
            draft["started_at"] = item.started_at
        if item.model is not None and item.model != draft["model"]:
            draft["model"] = _first_model(draft["model"], item.model)
    if draft["status"].ended:
        return
    if item is not None and item.finished_at:
        # The latest end of any item, whatever order the facts came in.
        draft["finished_at"] = max(draft["finished_at"] or "", item.finished_at)
    draft["status"] = _status(draft["outcomes"], draft["total"])


def _first_model(known: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """The model that stands for the job, whichever item of several was heard of first."""
    if known is None:
        return other
    return min(known, other, key=lambda model: json.dumps(model, sort_keys=True))


def _status(outcomes: str, total: int) -> JobStatus:
    """What the outcomes say of the whole job that has not ended yet."""
    if total and _WAITING not in outcomes and LETTERS[JobStatus.RUNNING] not in outcomes:
        all_failed = outcomes.count(LETTERS[JobStatus.FAILED]) == total
        return JobStatus.FAILED if all_failed else JobStatus.SUCCEEDED
    return JobStatus.RUNNING if outcomes.strip(_WAITING) else JobStatus.QUEUED


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
