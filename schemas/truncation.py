"""Truncation of jobs that are too large for one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.jobs import Item, JobState

# Characters that a long text keeps: enough to distinguish one from another.
_MAX_TEXT_CHARS = 80
# Characters of a key of ours: "results/", a job's id, "/", an index and an ending.
_MAX_KEY_CHARS = 160
# Fields of bounded size. All others go in the last step, so that one that is added to JobState
# cannot make a job too large before it is listed here.
_BOUNDED_ITEM = ("index", "status", "attempts", "error", "started_at", "finished_at")
_BOUNDED_JOB = (
    "job_id",
    "priority",
    "total",
    "created_at",
    "expires_at",
    "revision",
    "status",
    "outcomes",
    "items",
    "error",
    "attempts",
    "started_at",
    "finished_at",
)


def truncated(state: JobState) -> Iterator[JobState]:
    """Yield ever smaller versions of a job; take the first that fits.

    Dropped are first the items' data, then their URLs, then their filenames and the ends of long
    messages: a job that came through the API fits by then. At last all fields of unbounded size
    are dropped: MAX_ITEMS items and the job then take less than 3 MB. A result names the fields
    that it lacks: `data_omitted`, `url_omitted`, `filename_omitted`, `result_omitted`.
    """
    for truncate in (_without_data, _without_url, _without_filename, _bounded_item):
        items = tuple(map(truncate, state.items))
        error = state.error and state.error.truncated(_MAX_TEXT_CHARS)
        state = state.evolve(items=items, error=error)
        yield state
    yield _bounded_job(state)


def _without_data(item: Item) -> Item:
    return _without(item, "data")


def _without_url(item: Item) -> Item:
    return _without(item, "url")


def _without(item: Item, field: str) -> Item:
    if not item.result or item.result.get(field) is None:
        return item
    return item.evolve(result=item.result | {field: None, f"{field}_omitted": True})


def _without_filename(item: Item) -> Item:
    result = item.result
    if item.filename is not None and result is not None:
        result = result | {"filename_omitted": True}
    error = item.error and item.error.truncated(_MAX_TEXT_CHARS)
    return item.evolve(filename=None, result=result, error=error)


def _bounded_item(item: Item) -> Item:
    """Keep the item's outcome, and the key of its result."""
    result: dict[str, Any] | None = None
    if item.result is not None:
        key = item.result.get("key")
        result = ({"key": key} if _is_key(key) else {}) | {"result_omitted": True}
    return Item.trusted(result=result, **{name: getattr(item, name) for name in _BOUNDED_ITEM})


def _is_key(key: Any) -> bool:
    short = isinstance(key, str) and len(key) <= _MAX_KEY_CHARS
    return short and key.isascii() and key.isprintable()


def _bounded_job(state: JobState) -> JobState:
    """Keep the job's outcome. Only requests that the API refuses are themselves too large."""
    kept = {name: getattr(state, name) for name in _BOUNDED_JOB}
    return JobState.trusted(operation=state.operation[:_MAX_TEXT_CHARS], **kept)
