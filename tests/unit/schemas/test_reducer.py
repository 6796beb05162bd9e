"""The laws of the reducer: whatever order and repeats the facts come in, one outcome."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import cloudevents
from schemas.errors import ErrorClass, ErrorCode, JobError
from schemas.events import (
    Event,
    ItemFailed,
    ItemFinished,
    ItemRetrying,
    ItemStarted,
    JobFinished,
)
from schemas.jobs import MAX_ITEMS, Item, JobState, JobStatus, Progress
from schemas.reducer import apply
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.truncation import truncated
from tests.support.facts import (
    Reader,
    accepted,
    at,
    cancel,
    histories,
    interleaved,
    item_fact,
    job,
    unreadable,
)

# Seconds in all, also on a busy machine; a run with thousands finds no more.
LAW = settings(max_examples=40)


def _lanes(submitted: Any, items: list[list[Any]]) -> list[list[Any]]:
    """The items' facts, and for a batch its header as a lane of its own."""
    return items if submitted.total == 1 else [[accepted(submitted)], *items]


@LAW
@given(st.data())
def test_facts_of_different_items_commute(data: st.DataObject) -> None:
    submitted, items = data.draw(histories())
    lanes = _lanes(submitted, items)
    one = Reader().read(data.draw(interleaved(lanes)))
    other = Reader().read(data.draw(interleaved(lanes)))
    if one.state is not None:
        assert one.public == other.public
        assert {i: item for i, item in one.items.items() if item.status.ended} == {
            i: item for i, item in other.items.items() if item.status.ended
        }


@LAW
@given(st.data())
def test_repeats_change_nothing(data: st.DataObject) -> None:
    submitted, items = data.draw(histories())
    facts = data.draw(interleaved(_lanes(submitted, items)))
    reader = Reader()
    for number, fact in enumerate(facts):
        reader.read([fact])
        before, known = reader.state, dict(reader.items)
        repeats = data.draw(st.lists(st.sampled_from(facts[: number + 1]), max_size=3))
        reader.read(repeats)
        assert reader.state == before
        assert reader.items == known


@LAW
@given(st.data())
def test_an_ended_job_never_changes_again(data: st.DataObject) -> None:
    submitted, items = data.draw(histories(ends=True))
    lanes = [*_lanes(submitted, items), [cancel(submitted)]]
    reader = Reader().read(data.draw(interleaved(lanes)))
    ended = reader.state
    assert ended is not None and ended.status.ended
    everything = [fact for lane in lanes for fact in lane]
    reader.read(data.draw(st.lists(st.sampled_from(everything), max_size=8)))
    assert reader.state == ended
    assert len({event.model_dump_json() for event in reader.finished}) == 1
    assert len({event.event_id for event in reader.finished}) == 1


@LAW
@given(st.data())
def test_of_a_cancel_and_the_last_item_the_first_decides(data: st.DataObject) -> None:
    submitted, items = data.draw(histories(ends=True))
    lanes = [*_lanes(submitted, items), [cancel(submitted)]]
    facts = data.draw(interleaved(lanes))
    reader = Reader()
    for fact in facts:
        reader.read([fact])
        if reader.state is not None and reader.state.status.ended:
            break
    decided = fact
    cancelled = reader.state is not None and reader.state.status is JobStatus.CANCELLED
    assert cancelled == (decided.TYPE == cancel(submitted).TYPE)
    outcome = reader.public
    assert Reader().read(facts).public == outcome


@LAW
@given(st.data())
def test_an_attempt_that_is_over_is_not_taken_up_again(data: st.DataObject) -> None:
    """Late facts of an earlier attempt are passed over: a worker that was thought dead sent them.

    Its end is the exception: an end is an end, whoever reached it.
    """
    submitted = job(1)
    late = data.draw(st.sampled_from([ItemStarted, ItemRetrying]))
    reader = Reader().read(
        [
            item_fact(ItemStarted, submitted, 0, attempt=1),
            item_fact(ItemRetrying, submitted, 0, attempt=1),
            item_fact(ItemStarted, submitted, 0, attempt=2, second=30),
        ]
    )
    before = reader.state
    reader.read([item_fact(late, submitted, 0, attempt=1)])
    assert reader.state == before
    reader.read([item_fact(ItemFinished, submitted, 0, attempt=1, second=40)])
    assert reader.state is not None
    assert reader.state.status is JobStatus.SUCCEEDED
    assert reader.state.attempts == 2


@LAW
@given(st.data())
def test_what_cannot_be_read_ends_nothing_that_goes_on_without_it(data: st.DataObject) -> None:
    """A job that is known, or an attempt that was begun, comes to its end by other facts."""
    submitted, items = data.draw(histories(ends=True))
    facts = data.draw(interleaved(_lanes(submitted, items)))
    if submitted.total > 1:
        facts = sorted(facts, key=lambda fact: fact.TYPE != accepted(submitted).TYPE)
    reader, begun = Reader(), dict[int, int]()
    for fact in facts:
        reader.read([fact])
        if (index := getattr(fact, "index", None)) is not None:
            begun[index] = max(fact.attempt, begun.get(index, 0))
        before, known = reader.state, dict(reader.items)
        strange = [unreadable(submitted)]
        strange += [unreadable(submitted, *attempt) for attempt in begun.items()]
        reader.read(data.draw(st.permutations(strange)))
        assert (reader.state, reader.items) == (before, known)


@LAW
@given(st.data())
def test_an_attempt_that_cannot_be_read_ends_its_item(data: st.DataObject) -> None:
    """Wherever that was the next one: else the batch would never end."""
    submitted, items = data.draw(histories(ends=True))
    lost = data.draw(st.integers(0, submitted.total - 1))
    attempt = items[lost][-1].attempt
    before = [fact for fact in items[lost] if fact.attempt < attempt]
    if submitted.total == 1 and not before:
        return
    items[lost] = [*before, unreadable(submitted, lost, attempt)]
    header = [accepted(submitted)] if submitted.total > 1 else []
    reader = Reader().read([*header, *data.draw(interleaved(items))])
    assert reader.state is not None and reader.state.status.ended
    assert reader.state.outcomes[lost] == "f"
    assert reader.state.items[lost].attempts == attempt


def test_a_submission_that_cannot_be_read_ends_a_job_of_which_nothing_is_known() -> None:
    submitted = job(2)
    reader = Reader().read([unreadable(submitted), accepted(submitted)])
    assert reader.state is not None
    assert (reader.state.status, reader.state.total) == (JobStatus.FAILED, 1)


@LAW
@given(st.data())
def test_a_batch_of_one_is_told_like_a_job_of_one(data: st.DataObject) -> None:
    submitted, items = data.draw(histories(max_total=1))
    (facts,) = items
    alone = Reader().read(facts)
    with_header = Reader().read([accepted(submitted), *facts])
    if alone.state is not None:
        assert alone.public == with_header.public


@LAW
@given(st.data())
def test_counts_follow_the_items(data: st.DataObject) -> None:
    submitted, items = data.draw(histories(ends=True))
    reader = Reader().read(data.draw(interleaved(_lanes(submitted, items))))
    state = reader.state
    assert state is not None
    failed = sum(isinstance(facts[-1], ItemFailed) for facts in items)
    assert state.progress == Progress(
        total=submitted.total, processed=submitted.total, failed=failed
    )
    assert state.status is (JobStatus.FAILED if failed == submitted.total else JobStatus.SUCCEEDED)
    assert (state.error is None) == (state.status is JobStatus.SUCCEEDED)
    assert [item.index for item in state.items] == list(range(submitted.total))
    assert [item.attempts for item in state.items] == [facts[-1].attempt for facts in items]
    assert state.finished_at == max(facts[-1].at for facts in items)
    starts = [fact.started_at for facts in items for fact in facts[-1:]]
    running = [f.at for facts in items for f in facts if isinstance(f, ItemStarted)]
    assert state.started_at is not None and state.started_at <= min(starts + running)


def test_a_job_of_one_from_start_to_end() -> None:
    submitted = job(1)
    reader = Reader().read([item_fact(ItemStarted, submitted, 0, second=5)])
    assert reader.state is not None
    assert (reader.state.status, reader.state.outcomes) == (JobStatus.RUNNING, "r")
    assert reader.state.started_at == at(5)
    reader.read([item_fact(ItemRetrying, submitted, 0, second=6)])
    assert (reader.state.status, reader.state.outcomes) == (JobStatus.QUEUED, ".")
    reader.read([item_fact(ItemFinished, submitted, 0, attempt=2, second=9)])
    assert (reader.state.status, reader.state.outcomes) == (JobStatus.SUCCEEDED, "s")
    assert (reader.state.attempts, reader.state.finished_at) == (2, at(9))
    assert reader.state.model == {"name": "u2netp", "sha256": "00"}
    assert reader.state.items[0].result == {"key": "results/job/0.png"}


def test_facts_before_the_header_are_kept_for_it() -> None:
    submitted = job(3)
    reader = Reader().read([item_fact(ItemFinished, submitted, 2)])
    assert reader.state is not None
    assert (reader.state.status, reader.state.outcomes) == (JobStatus.RUNNING, "..s")
    reader.read([item_fact(ItemFinished, submitted, 0), item_fact(ItemFailed, submitted, 1)])
    assert not reader.state.status.ended, "nobody knows yet how many items the job has"
    reader.read([accepted(submitted)])
    assert reader.state.status is JobStatus.SUCCEEDED
    assert reader.state.progress == Progress(total=3, processed=3, failed=1)
    assert reader.state.finished_at == at(12)
    assert reader.state.metadata == {"order": 7, "note": None}


def test_a_cancelled_batch_keeps_what_had_ended() -> None:
    submitted = job(4)
    reader = Reader().read(
        [
            accepted(submitted),
            item_fact(ItemFinished, submitted, 0),
            item_fact(ItemFailed, submitted, 1),
            item_fact(ItemStarted, submitted, 2),
            cancel(submitted),
        ]
    )
    state = reader.state
    assert state is not None
    assert (state.status, state.outcomes) == (JobStatus.CANCELLED, "sfcc")
    assert state.finished_at == at(50)
    assert state.error is not None and state.error.error_class is ErrorClass.CANCELLED
    assert state.items[0].result is not None
    assert state.items[1].error is not None and state.items[1].error.code is ErrorCode.TIMEOUT
    for item in state.items[2:]:
        assert item.status is JobStatus.CANCELLED
        assert item.error is not None and item.error.code is ErrorCode.CANCELLED
        assert item.filename == f"{item.index}.png"


def test_a_cancel_may_be_the_first_that_is_heard_of_a_job() -> None:
    submitted = job(2)
    reader = Reader().read([cancel(submitted)])
    assert reader.state is not None
    assert (reader.state.status, reader.state.outcomes) == (JobStatus.CANCELLED, "cc")
    assert [item.filename for item in reader.state.items] == ["0.png", "1.png"]
    assert reader.finished[0].created_at == submitted.created_at


def test_the_error_of_a_batch_whose_items_all_failed_speaks_for_all() -> None:
    submitted = job(2)
    reader = Reader().read(
        [accepted(submitted), *(item_fact(ItemFailed, submitted, index) for index in (1, 0))]
    )
    assert reader.state is not None and reader.state.error is not None
    assert reader.state.status is JobStatus.FAILED
    assert reader.state.error.message == "All 2 items failed. The first: item 0 took too long"


def test_an_item_that_the_job_does_not_have_is_passed_over() -> None:
    submitted = job(2)
    reader = Reader().read([accepted(submitted)])
    before = reader.state
    reader.read([item_fact(ItemFinished, submitted, 7)])
    assert reader.state == before


def test_an_item_heard_of_before_the_header_that_excludes_it_does_not_count() -> None:
    submitted = job(2)
    reader = Reader().read(
        [
            item_fact(ItemFailed, submitted, 5),
            accepted(submitted),
            item_fact(ItemFinished, submitted, 0),
            item_fact(ItemFinished, submitted, 1),
        ]
    )
    assert reader.state is not None
    assert (reader.state.status, reader.state.outcomes) == (JobStatus.SUCCEEDED, "ss")
    assert reader.state.progress.failed == 0


def test_an_event_that_is_no_fact_is_refused() -> None:
    class Rumour(Event):
        TYPE = "io.imagemill.rumour.v1"
        job: None = None

    with pytest.raises(TypeError, match="Rumour"):
        apply(None, None, Rumour(job_id="job"))  # type: ignore[arg-type]


def test_a_job_that_runs_has_no_terminal_event() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        JobFinished.of(JobState(job_id="job", total=1, status=JobStatus.RUNNING))


@pytest.mark.parametrize("character", ["x", '"', "\x01", "\N{CAT FACE}"])
def test_the_end_of_every_job_can_be_made_to_fit_a_message(character: str) -> None:
    """Whatever texts there are in it, and in whatever characters; here all are long."""
    long = character * 1000
    error = JobError.of(ErrorCode.TIMEOUT, long)
    item = Item(
        index=MAX_ITEMS - 1,
        filename=long,
        status=JobStatus.FAILED,
        attempts=3,
        result={"key": long, "url": long, "data": {long: long}, long: 0},
        error=error,
        timings_ms={long: 0.1},
        started_at=at(1),
        finished_at=at(2),
        model={"name": long},
    )
    state = JobState(
        job_id="j" * 128,
        operation=long * 1000,
        params={"of": long * 1000},
        metadata={"of": long * 1000},
        total=MAX_ITEMS,
        outcomes="f" * MAX_ITEMS,
        status=JobStatus.FAILED,
        items=(item,) * MAX_ITEMS,
        error=error,
        finished_at=at(2),
        traceparent=long,
    )
    *_, last = truncated(state)
    assert len(cloudevents.encode_state(last).value) < MAX_MESSAGE_BYTES * 3 // 4
    assert len(cloudevents.encode(JobFinished.of(last)).value) < MAX_MESSAGE_BYTES - (1 << 16)
    assert {(i.status, i.attempts, i.finished_at) for i in last.items} == {
        (JobStatus.FAILED, 3, at(2))
    }
