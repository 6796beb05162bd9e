"""How a new read side is filled: what is read first, and how much waits, make no difference."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer_api.read_model import pairs as pairs_module
from producer_api.read_model.changes import ChangeCollector, Changes, RetentionCutoff
from producer_api.read_model.pairs import Pairs
from producer_api.read_model.writer import ProjectionStore
from schemas.jobs import Item, JobStatus
from tests.support.messages import (
    PREFIX,
    FakeMessage,
    item_message,
    state_message,
    state_of,
    submission_message,
    submitted,
    tombstone,
)

HORIZON = RetentionCutoff("2026-03-02T00:00:00.000Z", "2026-02-23T00:00:00.000Z")
_IDS = [f"job-{number:05}" for number in range(4)]


def _of_states(job_id: str) -> list[FakeMessage]:
    job = submitted(job_id, total=2)
    return [
        state_message(state_of(job, 1, "running", ".r")),
        item_message(job_id, Item(index=1, status=JobStatus.RUNNING)),
        tombstone(f"{job_id}/1"),
        state_message(state_of(job, 3, "succeeded", "ss")),
        tombstone(job_id),
    ]


SUBMISSIONS = [submission_message(submitted(job_id, total=2)) for job_id in _IDS]
STATES = [message for job_id in _IDS for message in _of_states(job_id)]


def contents(path: Path, batches: list[Changes]) -> list[list[tuple[Any, ...]]]:
    """What a file holds after these, but for the order in which it came."""
    store = ProjectionStore(path)
    for changes in batches:
        store.apply(changes)
    store.finish()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        return [
            sorted(row[skipped:] for row in connection.execute(f"SELECT * FROM {table}"))
            for table, skipped in (("jobs", 1), ("items", 0), ("counts", 0))
        ]


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(SUBMISSIONS + STATES), max_size=24),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([1, 2, 1000]),
    st.integers(1, 5),
)
def test_held_back_halves_make_no_difference(
    messages: list[FakeMessage], rows: int, halves: int, step: int
) -> None:
    fold, pairs = ChangeCollector(PREFIX), Pairs()
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(pairs_module, "_ROWS", rows)
        patch.setattr(pairs_module, "_HALVES", halves)
        each = [fold.fold([message], HORIZON) for message in messages]
        paired = []
        left = iter(messages)
        while batch := list(islice(left, step)):
            fold.fold(batch, HORIZON, pairs)
            if pairs.full:
                paired.append(pairs.take())
        paired.append(pairs.take_all())
        assert contents(Path(folder) / "each", each) == contents(Path(folder) / "paired", paired)


def test_a_job_is_written_once_both_its_messages_are_there() -> None:
    fold, pairs = ChangeCollector(PREFIX), Pairs()
    jobs = [submitted(job_id) for job_id in _IDS]
    fold.fold([submission_message(job) for job in jobs[:3]], HORIZON, pairs)
    assert pairs.more_submissions
    assert pairs.take().jobs == {}
    states = [state_message(state_of(job, 1, "succeeded", "s")) for job in jobs[1:]]
    fold.fold(states, HORIZON, pairs)
    assert not pairs.more_submissions
    whole = pairs.take().jobs
    assert sorted(whole) == _IDS[1:3]
    assert all(row.submitted and row.state for row in whole.values())
    assert sorted(pairs.take_all().jobs) == [_IDS[0], _IDS[3]]
    assert not pairs.take_all().jobs


def test_what_waits_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "_HALVES", 10)
    fold, pairs = ChangeCollector(PREFIX), Pairs()
    waiting = 0
    for number in range(100):
        fold.fold([submission_message(submitted(f"job-{number:05}"))], HORIZON, pairs)
        waiting += 1
        if pairs.full:
            waiting -= len(pairs.take().jobs)
        assert waiting <= 10
    monkeypatch.setattr(pairs_module, "_BYTES", 50_000)
    large = submitted("job-large", metadata={"note": "x" * 60_000})
    fold.fold([submission_message(large)], HORIZON, pairs)
    assert pairs.full
    while pairs.full:
        pairs.take()
