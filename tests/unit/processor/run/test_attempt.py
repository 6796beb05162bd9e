"""Outcomes become events by pure functions: nothing here needs a queue, a pool or a producer."""

from __future__ import annotations

import pytest

from processor.run.attempt import Attempt, attempt_of, events_of, items_of
from processor.run.item import ItemOutcome
from processor.run.retry import RetryPolicy
from schemas import cloudevents
from schemas.errors import ErrorCode, JobError
from schemas.events import AnyEvent, ItemFailed, ItemFinished, ItemQueued, ItemRetrying
from schemas.times import from_epoch, to_epoch
from tests.support.facts import at, job

RETRY = RetryPolicy(max_attempts=3, base_s=4.0, max_s=10.0)
STARTED = to_epoch(at(10))
AWAY = JobError.of(ErrorCode.STORE_UNAVAILABLE, "away")


def _events(attempt: Attempt, outcome: ItemOutcome) -> tuple[AnyEvent, ItemQueued | None]:
    encoded, again = events_of(attempt, outcome, STARTED + 1.5, RETRY, "/w1")
    assert dict(encoded.headers)["ce_source"] == b"/w1"
    return cloudevents.decode(encoded.headers, encoded.value), again


def test_a_result_becomes_the_end_of_its_item() -> None:
    attempt = attempt_of(job(1), STARTED)
    outcome = ItemOutcome(result={"data": 1}, timings_ms={"infer": 7.0})
    finished, again = _events(attempt, outcome)
    assert isinstance(finished, ItemFinished) and again is None
    assert (finished.started_at, finished.at) == (at(10), at(11.5))
    assert finished.timings_ms == {"queued": 10_000.0, "infer": 7.0}
    assert finished.job == job(1).header()


def test_a_transient_error_becomes_the_next_attempt_after_its_backoff() -> None:
    item = list(items_of(job(3)))[2]
    retrying, again = _events(attempt_of(item, STARTED), ItemOutcome(error=AWAY))
    assert isinstance(retrying, ItemRetrying) and again is not None
    assert (retrying.index, retrying.attempt, retrying.job) == (2, 1, None)
    assert (again.index, again.attempt, again.input) == (2, 2, item.input)
    assert again.due_at == retrying.due_at
    assert 2.0 <= to_epoch(retrying.due_at) - (STARTED + 1.5) <= 4.0


@pytest.mark.parametrize(
    ("number", "outcome"),
    [(3, ItemOutcome(error=AWAY)), (1, ItemOutcome(error=AWAY, permanent=True))],
    ids=["last attempt", "permanent"],
)
def test_an_error_that_is_not_tried_again_is_the_end(number: int, outcome: ItemOutcome) -> None:
    header = job(1).header()
    attempt = Attempt(header, 0, number, job(1).inputs[0], STARTED)
    failed, again = _events(attempt, outcome)
    assert isinstance(failed, ItemFailed) and again is None
    assert (failed.attempt, failed.error, failed.unreadable) == (number, AWAY, False)


def test_a_repeat_of_the_same_outcome_is_the_same_event() -> None:
    attempt = attempt_of(job(1), STARTED)
    outcome = ItemOutcome(result={"data": 1})
    first, second = (events_of(attempt, outcome, STARTED, RETRY, "/w1")[0] for _ in range(2))
    assert first.value == second.value
    assert dict(first.headers)["ce_id"] == dict(second.headers)["ce_id"]
    assert from_epoch(STARTED) == at(10)
