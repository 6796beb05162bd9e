"""Fair shares (docs/fair_shares.md) with real broker and workers: through joins and kills, too."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from schemas import cloudevents, topics
from schemas.events import ItemQueued, JobSubmitted
from schemas.jobs import ItemInput, Job, Priority
from schemas.times import now
from tests.chaos.harness import CHECKERS, Load, Results, Stage, Workers, workers

pytestmark = pytest.mark.longest

NAP_S = 0.01
SLOTS = 2


@pytest.fixture
def running(stage: Stage, free_port: Callable[[], int]) -> Iterator[Workers]:
    with workers(stage, free_port, slots=SLOTS) as started:
        yield started


def _queue(load: Load, owner: str, jobs: int, weight: int = 1) -> set[str]:
    ids = {
        load.submit("nap", owner=owner, weight=weight, seconds=NAP_S).job_id for _ in range(jobs)
    }
    load.flush()
    return ids


def _submit_one(load: Load, owner: str, priority: Priority = Priority.NORMAL) -> JobSubmitted:
    job = load.submit("noop", priority, owner=owner)
    load.flush()
    return job


def _ended(results: Results, jobs: set[str]) -> int:
    return len(jobs & results.events.keys())


def _read_until(results: Results, condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"only {len(results.events)} jobs ended"
        results.read()


def test_a_job_ends_while_thousands_of_another_owner_wait(stage: Stage, running: Workers) -> None:
    load, results = Load(stage), Results(stage)
    backlog = _queue(load, "a", 5000)
    running.start("w1")
    _read_until(results, lambda: _ended(results, backlog) > 200)
    for number in range(10):
        before = _ended(results, backlog)
        job = _submit_one(load, f"b{number % 3}")
        results.wait_for([job.job_id], 20)
        overtaken_by = _ended(results, backlog) - before
        assert overtaken_by < 100, f"job {number} waited for {overtaken_by} of the backlog"
    assert _ended(results, backlog) < 4000


def test_weights_hold_within_5_percent_though_one_owner_is_behind_the_other_in_the_log(
    stage: Stage, running: Workers
) -> None:
    load, results = Load(stage), Results(stage)
    jobs = {"a": _queue(load, "a", 3000, weight=3), "b": _queue(load, "b", 3000, weight=1)}
    running.start("w1")
    _read_until(results, lambda: _ended(results, jobs["b"]) > 20)
    first = len(results.order)
    _read_until(results, lambda: len(results.order) >= first + 1200)
    owners = Counter("a" if id in jobs["a"] else "b" for id in results.order[first : first + 1200])
    assert owners["b"] / 300 == pytest.approx(1, rel=0.05), owners
    assert owners["a"] / 900 == pytest.approx(1, rel=0.05), owners


def test_shares_hold_through_a_rebalance(stage: Stage, running: Workers) -> None:
    load, results = Load(stage), Results(stage)
    backlog = _queue(load, "a", 4000)
    running.start("w1")
    _read_until(results, lambda: _ended(results, backlog) > 100)
    mine = _queue(load, "b", 300)
    _read_until(results, lambda: _ended(results, mine) > 50)
    running.start("w2")
    running.wait_ready("w2")
    late = _submit_one(load, "c")
    results.wait_for([late.job_id], 30)
    results.wait_for(mine, 60)
    assert _ended(results, backlog) < 3000, "the backlog has not delayed the others"
    results.wait_for(load.jobs, 120, meanwhile=running.revive)
    for checker in CHECKERS:
        checker.check(load, results, stage)


def test_what_was_done_ahead_is_neither_lost_nor_repeated_after_a_kill(
    stage: Stage, running: Workers
) -> None:
    load, results = Load(stage), Results(stage)
    backlog, mine = _queue(load, "a", 3000), _queue(load, "b", 600)
    running.start("w1")
    _read_until(results, lambda: _ended(results, mine) > 400)
    assert _ended(results, backlog) < 2000
    running.kill("w1")
    running.start("w1")
    results.wait_for(load.jobs, 120, meanwhile=running.revive)
    for checker in CHECKERS:
        checker.check(load, results, stage)
    repeated = sum(len(results.events[job]) > 1 for job in mine)
    assert repeated < 150, "more than what was done since the last commit"


def test_a_batch_s_items_are_a_share_of_their_owner_and_a_high_job_overtakes_all(
    stage: Stage, running: Workers
) -> None:
    load, results = Load(stage), Results(stage)
    backlog = _queue(load, "a", 3000)
    running.start("w1")
    _read_until(results, lambda: _ended(results, backlog) > 100)
    batch = load.submit(
        "nap", inputs=[ItemInput(filename=f"{n}") for n in range(40)], owner="b", seconds=NAP_S
    )
    load.flush()
    before = _ended(results, backlog)
    results.wait_for([batch.job_id], 30)
    assert _ended(results, backlog) - before < 400, "the batch has not got its half"
    before = _ended(results, backlog)
    high = _submit_one(load, "a", Priority.HIGH)
    results.wait_for([high.job_id], 20)
    assert _ended(results, backlog) - before < 100


def test_a_retry_of_an_owner_does_not_wait_for_another_s_backlog(
    stage: Stage, running: Workers
) -> None:
    load, results = Load(stage), Results(stage)
    backlog = _queue(load, "a", 3000)
    running.start("w1")
    _read_until(results, lambda: _ended(results, backlog) > 100)
    retried = ItemQueued(
        job_id="retried",
        index=0,
        attempt=2,
        job=Job(job_id="retried", operation="nap", total=1, owner="b", created_at=now()),
        input=ItemInput(),
        due_at=now(),
    )
    load.publish(topics.JOBS_RETRY.name, "retried", *cloudevents.encode(retried))
    load.flush()
    before = _ended(results, backlog)
    results.wait_for(["retried"], 30)
    assert _ended(results, backlog) - before < 200
