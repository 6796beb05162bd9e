"""What a job leaves out when all together it is too much for one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.jobs import Item, JobState

# Characters: enough to tell one from another.
_SHORT = 80
# "results/", a job's id, "/", an index and an ending.
_LONGEST_KEY = 160


def shortened(state: JobState) -> Iterator[JobState]:
    """The job with ever less in it, to be had until it fits.

    First go the items' data, then their URLs, then their filenames and the ends of long messages:
    of a job that came through the API, nothing more. At last everything of no bounded length, and
    then MAX_ITEMS items and the job take less than 3 MB, whatever they were. A result says what it
    lacks: `data_omitted`, `url_omitted`, `filename_omitted`, `result_omitted`.
    """
    for shorten in (_without_data, _without_url, _without_filename, _bare):
        items = tuple(map(shorten, state.items))
        state = state.evolve(items=items, error=state.error and state.error.shortened(_SHORT))
        yield state
    yield _without_request(state)


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
    error = item.error and item.error.shortened(_SHORT)
    return item.evolve(filename=None, result=result, error=error)


def _bare(item: Item) -> Item:
    """What became of the item, and where its result is."""
    result: dict[str, Any] | None = None
    if item.result is not None:
        key = item.result.get("key")
        result = ({"key": key} if _is_key(key) else {}) | {"result_omitted": True}
    return Item.trusted(
        index=item.index,
        status=item.status,
        attempts=item.attempts,
        result=result,
        error=item.error,
        started_at=item.started_at,
        finished_at=item.finished_at,
    )


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()


def _without_request(state: JobState) -> JobState:
    """The job without what was asked for, where that alone is too much: ours are refused before."""
    return state.evolve(
        operation=state.operation[:_SHORT],
        params={},
        pipeline=(),
        metadata={},
        webhook=None,
        template=None,
        dialect=None,
        traceparent=None,
        fingerprint=None,
        model=None,
    )
