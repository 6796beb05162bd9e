"""The reducer, which alone decides a job's state: applies facts in any order, with repeats.

Laws, each property-tested: an ended job never changes again (guarantee 1); a repeated fact changes
nothing (guarantee 2); facts of different items commute; of a cancel request and the last item's
end, the first decides (guarantee 6); an undecodable message ends no job or attempt that is known
to go on without it (guarantee 5).
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


class Applied(NamedTuple):
    """A job after a fact: its state, the item concerned, and True if the fact changed anything."""

    state: JobState
    item: Item | None
    changed: bool


def apply(state: JobState | None, item: Item | None, fact: Fact) -> Applied:
    """Apply one fact to a job; the cost grows with the items by the outcome string alone.

    Args:
        state: the job before the fact, None if nothing was known of it.
        item: the item that the fact concerns, None if nothing was known of it.
        fact: the fact, any kind but JobExpired.

    Raises:
        TypeError: the reducer does not know that kind of fact.
    """
    if state is not None and state.status.ended:
        return Applied(state, item, False)
    before = state or JobState.trusted(job_id=fact.job_id)
    if isinstance(fact, ItemFailed) and fact.unreadable and _goes_on(state, item, fact):
        return Applied(before, item, False)
    # One dict, changed in place: a copy of the state for each step took half of the time.
    draft = dict(before.__dict__)
    changed = fact.job is not None and _fill_header(draft, fact.job)
    own_item = None
    if isinstance(fact, CancelRequested):
        _cancel(draft, fact)
        changed = True
    elif isinstance(fact, ItemFact):
        moved = _apply_item(draft, item, fact)
        own_item = item = moved or item
        changed = changed or moved is not None
    elif not isinstance(fact, JobAccepted):
        raise TypeError(f"{type(fact).__name__} is not a fact the reducer knows")
    if not changed:
        return Applied(before, item, state is None)
    _settle(draft, own_item)
    draft["revision"] += 1
    return Applied(JobState.from_all(draft), item, True)


def _goes_on(state: JobState | None, item: Item | None, fact: ItemFailed) -> bool:
    """True if an undecodable message ends nothing: the job goes on without it, or is unknown."""
    if fact.job is not None:
        return state is not None
    # A job is known before its items are queued, and a failed attempt before the next one is.
    if state is None or item is None:
        return state is None
    if item.status.ended:
        # The item's record is ahead of the state: of this fact, or of one that is repeated.
        return (item.finished_at, item.error) != (fact.at, fact.error)
    return fact.attempt <= item.attempts


def _fill_header(draft: dict[str, Any], job: Job) -> bool:
    """Fill in the job's request; False if it was known already."""
    if draft["total"]:
        return False
    request = job.__dict__
    for name in _HEADER:
        draft[name] = request[name]
    # Also cut: a fact of an item that the job does not have may have come before its header.
    draft["outcomes"] = draft["outcomes"].ljust(job.total, _WAITING)[: job.total]
    return True


def _rank(status: JobStatus, attempt: int) -> tuple[bool, int, bool]:
    """Order an item's states: ended last, then by attempt, then waiting after running."""
    return (status.ended, attempt, status is JobStatus.QUEUED)


_ITEM_STATUS = {
    ItemStarted: JobStatus.RUNNING,
    ItemRetrying: JobStatus.QUEUED,
    ItemFinished: JobStatus.SUCCEEDED,
    ItemFailed: JobStatus.FAILED,
}


def _apply_item(draft: dict[str, Any], item: Item | None, fact: ItemFact) -> Item | None:
    """Put the item's letter into the draft and return the item; None if the fact is stale."""
    index = fact.index
    if draft["total"] and index >= draft["total"]:
        return None
    outcomes = draft["outcomes"].ljust(index + 1, _WAITING)
    status = _ITEM_STATUS[type(fact)]
    attempts = item.attempts if item else 0
    # The letter in the state decides, not the item's own record: that may be ahead after a crash
    # between the two writes, and then the fact of its end is repeated.
    if STATUS_OF_LETTER[outcomes[index]].ended or (
        item is not None
        and not (item.status.ended and status.ended)
        and _rank(status, fact.attempt) <= _rank(item.status, attempts)
    ):
        return None
    draft["outcomes"] = outcomes[:index] + LETTERS[status] + outcomes[index + 1 :]
    known = fact.__dict__  # each kind of fact has some of these fields
    return Item.trusted(
        index=index,
        filename=fact.filename,
        status=status,
        attempts=max(attempts, fact.attempt),
        result=known.get("result"),
        error=known.get("error"),
        timings_ms=known.get("timings_ms", {}),
        started_at=known.get("started_at")
        or (fact.at if status is JobStatus.RUNNING else item.started_at if item else None),
        finished_at=fact.at if status.ended else None,
        model=known.get("model"),
    )


def _cancel(draft: dict[str, Any], fact: CancelRequested) -> None:
    """Cancel the items that have not ended; the others keep their outcome."""
    left = str.maketrans({_WAITING: "c", LETTERS[JobStatus.RUNNING]: "c"})
    draft["outcomes"] = draft["outcomes"].translate(left)
    draft["status"] = JobStatus.CANCELLED
    draft["error"] = cancelled_error()
    draft["finished_at"] = fact.at


def _settle(draft: dict[str, Any], item: Item | None) -> None:
    """Derive status and times from the outcomes."""
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
        # The latest end of any item, in whatever order the facts came.
        draft["finished_at"] = max(draft["finished_at"] or "", item.finished_at)
    draft["status"] = _status(draft["outcomes"], draft["total"])


def _first_model(known: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """Choose the model shown for the job, the same in whatever order its items ended."""
    if known is None:
        return other
    return min(known, other, key=lambda model: json.dumps(model, sort_keys=True))


def _status(outcomes: str, total: int) -> JobStatus:
    """Derive the status of a job that has not ended from its outcomes."""
    if total and _WAITING not in outcomes and LETTERS[JobStatus.RUNNING] not in outcomes:
        all_failed = outcomes.count(LETTERS[JobStatus.FAILED]) == total
        return JobStatus.FAILED if all_failed else JobStatus.SUCCEEDED
    return JobStatus.RUNNING if outcomes.strip(_WAITING) else JobStatus.QUEUED


def complete_items(
    state: JobState, known: dict[int, Item], inputs: tuple[ItemInput, ...] = ()
) -> tuple[Item, ...]:
    """Return all items of a job in order: the known ones, the rest made from the outcomes."""
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
    """Return an ended job with its items, and the error that follows from them."""
    update: dict[str, object] = {"items": items}
    if state.status is JobStatus.FAILED:
        update["error"] = job_error(items)
    return state.evolve(**update)


def job_error(items: tuple[Item, ...]) -> JobError | None:
    """Return the error of a job whose every item failed: the first item's, in a batch quoted."""
    first = next((item.error for item in items if item.error), None)
    if first is None or len(items) == 1:
        return first
    return first.model_copy(
        update={"message": f"All {len(items)} items failed. The first: {first.message}"}
    )
