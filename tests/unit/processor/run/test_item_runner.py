"""From a queued item to its facts, whatever the item does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from processor.queues.cancelled_jobs import CancelledJobs
from processor.queues.priority_queue import PriorityQueue
from processor.run.item import ItemOutcome, ItemTask
from processor.run.item_runner import ItemRunner, RunPolicy
from processor.run.retry import RetryPolicy
from schemas import cloudevents
from schemas.errors import ErrorCode, JobError
from schemas.events import (
    AnyEvent,
    ItemFailed,
    ItemFinished,
    ItemQueued,
    ItemRetrying,
    ItemStarted,
    JobAccepted,
    JobSubmitted,
)
from schemas.jobs import ItemInput, JobStatus
from schemas.reducer import apply
from schemas.topics import MAX_MESSAGE_BYTES
from tests.support.edge import JOBS, TOPICS, Edge, settled
from tests.support.facts import job

Run = Callable[[ItemTask], Any]


class Processes:
    """The inference processes: each item ends as the test says."""

    def __init__(self) -> None:
        self.run_as: Run = lambda task: ItemOutcome(result={"data": {"index": task.index}})
        self.tasks: list[ItemTask] = []
        self.hold: asyncio.Event | None = None

    async def run(self, task: ItemTask) -> ItemOutcome:
        self.tasks.append(task)
        if self.hold is not None:
            await self.hold.wait()
        return self.run_as(task)


class Bench(Edge):
    """ItemRunner between a client and a producer."""

    def __init__(self, *, max_attempts: int = 3) -> None:
        super().__init__()
        self.processes, self.cancelled = Processes(), CancelledJobs()
        self.admission.start(JOBS, 0)
        self._offset = 0
        queue = PriorityQueue(32, self.client)
        policy = RunPolicy("w1", RetryPolicy(max_attempts, 1.0, 10.0), started_after_s=0.02)
        self.runner = ItemRunner(queue, self.publisher, self.processes, self.cancelled, policy)

    async def serve(self, event: AnyEvent | None, **fields: Any) -> list[AnyEvent]:
        """Run one message; return the facts that were published."""
        offset, self._offset = self._offset, self._offset + 1
        message = (
            self.client.carrying(event, offset, **fields)
            if event is not None
            else self.client.message(offset, **fields)
        )
        admitted = self.admission.admit(message)
        assert admitted is not None
        before = len(self.producer.sent)
        await self.runner.run(admitted)
        await settled()
        return [s.event for s in self.producer.sent[before:] if s.topic == TOPICS.events]


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def _nap(total: int = 1, **fields: Any) -> JobSubmitted:
    return job(total).model_copy(update={"operation": "remove-background"} | fields)


async def test_a_job_of_one_ends_with_one_fact_that_carries_its_header(bench: Bench) -> None:
    submitted = _nap()
    (fact,) = await bench.serve(submitted)
    assert isinstance(fact, ItemFinished)
    assert fact.job == submitted.header()
    assert (fact.index, fact.attempt, fact.filename) == (0, 1, "0.png")
    assert fact.result == {"data": {"index": 0}}
    assert bench.client.acked == [0]
    assert bench.processes.tasks[0].steps == (("remove-background", {}),)


async def test_an_operation_of_microseconds_does_not_go_to_a_process(bench: Bench) -> None:
    (fact,) = await bench.serve(JobSubmitted(job_id="j", operation="noop", total=1))
    assert isinstance(fact, ItemFinished)
    assert bench.processes.tasks == []


async def test_params_that_an_operation_does_not_take_fail_the_item(bench: Bench) -> None:
    submitted = JobSubmitted(job_id="j", operation="noop", params={"x": 1}, total=1)
    (fact,) = await bench.serve(submitted)
    assert isinstance(fact, ItemFailed)
    assert fact.error.code is ErrorCode.PARAMS_INVALID


async def test_an_item_that_takes_longer_is_reported_as_started(bench: Bench) -> None:
    bench.processes.hold = asyncio.Event()
    asyncio.get_running_loop().call_later(0.06, bench.processes.hold.set)
    started, ended = await bench.serve(_nap())
    assert isinstance(started, ItemStarted) and isinstance(ended, ItemFinished)
    assert started.worker == "w1"
    assert started.at == ended.started_at <= ended.at


async def test_a_batch_becomes_one_message_an_item_after_its_header(bench: Bench) -> None:
    submitted = _nap(total=3)
    facts = await bench.serve(submitted)
    assert [type(fact) for fact in facts] == [JobAccepted]
    assert bench.producer.sent[0].topic == TOPICS.events
    items = bench.producer.to(JOBS.topic)
    assert [sent.key for sent in items] == [b"job/0", b"job/1", b"job/2"]
    queued = [sent.event for sent in items]
    assert all(isinstance(event, ItemQueued) for event in queued)
    assert [event.input.filename for event in queued] == ["0.png", "1.png", "2.png"]
    assert bench.client.acked == [0]


async def test_the_header_of_a_batch_is_in_the_log_before_its_items_are_sent(bench: Bench) -> None:
    bench.producer.deliver_at_once = False
    serving = asyncio.ensure_future(bench.serve(_nap(total=2)))
    await settled()
    assert [sent.topic for sent in bench.producer.sent] == [TOPICS.events]
    bench.producer.deliver_at_once = True
    bench.producer.deliver(bench.producer.sent[0])
    await serving
    assert len(bench.producer.to(JOBS.topic)) == 2


async def test_an_item_of_a_batch_sends_its_fact_to_the_partition_of_its_job(bench: Bench) -> None:
    header = _nap(total=2).header()
    item = ItemQueued(job_id="job", index=1, job=header, input=ItemInput(filename="1.png"))
    (fact,) = await bench.serve(item, key=b"job/1")
    assert isinstance(fact, ItemFinished)
    assert fact.job is None
    (sent,) = bench.producer.to(TOPICS.events)
    assert (sent.key, sent.partition) == (b"job", None)


async def test_a_transient_failure_is_queued_again_with_its_time(bench: Bench) -> None:
    bench.processes.run_as = lambda task: ItemOutcome(
        error=JobError.of(ErrorCode.STORE_UNAVAILABLE, "away")
    )
    (fact,) = await bench.serve(_nap())
    assert isinstance(fact, ItemRetrying)
    (again,) = bench.producer.to(TOPICS.retry)
    event = again.event
    assert isinstance(event, ItemQueued)
    assert (event.attempt, event.due_at, again.key) == (2, fact.due_at, b"job")
    assert bench.client.acked == [0]


async def test_the_last_attempt_fails_the_item(bench: Bench) -> None:
    bench.processes.run_as = lambda task: ItemOutcome(
        error=JobError.of(ErrorCode.STORE_UNAVAILABLE, "away")
    )
    item = ItemQueued(job_id="job", index=0, attempt=3, job=_nap().header(), input=ItemInput())
    (fact,) = await bench.serve(item)
    assert isinstance(fact, ItemFailed)
    assert (fact.attempt, fact.error.code) == (3, ErrorCode.STORE_UNAVAILABLE)


@pytest.mark.parametrize(
    "error",
    [
        JobError.of(ErrorCode.IMAGE_UNDECODABLE, "no image"),
        JobError.of(ErrorCode.TIMEOUT, "slow"),
        JobError.of(ErrorCode.INTERNAL, "\ud800" + "x" * MAX_MESSAGE_BYTES),
    ],
    ids=lambda error: error.code,
)
async def test_what_cannot_end_differently_is_not_tried_again(
    bench: Bench, error: JobError
) -> None:
    bench.processes.run_as = lambda task: ItemOutcome(error=error, permanent=True)
    (fact,) = await bench.serve(_nap())
    assert isinstance(fact, ItemFailed)
    assert fact.error == error


async def test_a_pool_that_breaks_fails_the_item_not_the_worker(bench: Bench) -> None:
    def broken(_task: ItemTask) -> ItemOutcome:
        raise RuntimeError("broken")

    bench.processes.run_as = broken
    (fact,) = await bench.serve(_nap())
    assert isinstance(fact, ItemFailed)
    assert fact.error.code is ErrorCode.INTERNAL
    assert "RuntimeError" in fact.error.message


@pytest.mark.parametrize(
    "data",
    [
        {"set": object()},
        {"text": "\ud800"},
        {"long": "x" * (MAX_MESSAGE_BYTES + 1)},
        json.loads('{"a":' * 190 + "1" + "}" * 190),
    ],
    ids=["no JSON", "half a character", "too long", "too deep"],
)
async def test_a_result_that_cannot_be_encoded_fails_the_item_not_the_worker(
    bench: Bench, data: dict[str, Any]
) -> None:
    bench.processes.run_as = lambda task: ItemOutcome(result={"data": data})
    (fact,) = await bench.serve(_nap())
    assert isinstance(fact, ItemFailed)
    assert fact.error.code is ErrorCode.INTERNAL
    assert (bench.client.acked, bench.crashes.reasons) == ([0], [])


async def test_a_job_of_another_operation_than_any_we_know_goes_to_the_pool(bench: Bench) -> None:
    """The pool may know it: operations may be installed on some workers only."""
    await bench.serve(_nap(operation="of-tomorrow"))
    assert bench.processes.tasks[0].steps[0][0] == "of-tomorrow"


async def test_items_of_a_cancelled_job_are_not_started(bench: Bench) -> None:
    submitted = _nap()
    bench.cancelled.add("job", "2027-01-01T00:00:00.000Z")
    assert await bench.serve(submitted) == []
    assert await bench.serve(_nap(total=2)) == []
    item = ItemQueued(job_id="job", index=0, job=submitted.header(), input=ItemInput())
    assert await bench.serve(item) == []
    assert bench.processes.tasks == []
    assert bench.client.acked == [0, 1, 2]


async def test_a_job_that_does_not_say_when_it_was_made_is_run(bench: Bench) -> None:
    """Such a job was not published by the API, and nobody has cancelled it."""
    (fact,) = await bench.serve(JobSubmitted(job_id="j", operation="noop", total=1))
    assert isinstance(fact, ItemFinished)
    assert fact.timings_ms["queued"] == 0.0


async def test_a_message_that_is_no_work_goes_to_the_dead_letters(bench: Bench) -> None:
    assert await bench.serve(None, value=b"?") == []
    assert await bench.serve(None, key=None, value=None) == []
    started = ItemStarted(job_id="j", index=0, at="2026-03-01T10:00:00.000Z")
    assert await bench.serve(started) == []
    (failed,) = await bench.serve(_nap(total=2, inputs=()))
    assert isinstance(failed, ItemFailed)
    reasons = [
        dict(s.headers or ())["imagemill-error"] for s in bench.producer.to("jobs.dead-letter")
    ]
    assert [reason.decode().split(" ")[0] for reason in reasons] == [
        "the",
        "the",
        "io.imagemill.item.started.v1",
        "2",
    ]
    assert bench.client.acked == [0, 1, 2, 3]


async def test_a_worker_that_cannot_send_restarts_and_acks_nothing(bench: Bench) -> None:
    bench.producer.refuse = KafkaTimeoutError()
    with pytest.raises(KafkaTimeoutError):
        await bench.serve(_nap())
    assert len(bench.crashes.reasons) == 1
    assert (bench.client.acked, bench.admission.running) == ([], 0)


async def test_the_next_item_starts_while_the_broker_confirms_the_last(bench: Bench) -> None:
    bench.producer.deliver_at_once = False
    await bench.serve(_nap())
    await bench.serve(_nap())
    assert (bench.runner.busy, bench.admission.running) == (0, 2)
    assert bench.client.acked == []
    for sent in bench.producer.sent:
        bench.producer.deliver(sent)
    await settled()
    assert bench.client.acked == [0, 1]


@pytest.mark.parametrize(
    ("key", "damage", "kept"),
    [
        (b"job", {"metadata": "DEEP"}, {"operation": "remove-background", "dialect": "rembg"}),
        (b"job", {"inputs": 5}, {"operation": "remove-background", "dialect": "rembg"}),
        (b"job", {"dialect": 5}, {"operation": "", "dialect": None}),
        (b"other", {"inputs": 5}, None),
        (b"job", {"job_id": 7}, None),
        (b"job", {"job_id": "a/b"}, None),
    ],
)
async def test_a_job_that_cannot_be_read_fails_where_it_is_certain_which_it_is(
    bench: Bench, key: bytes, damage: dict[str, Any], kept: dict[str, Any] | None
) -> None:
    value, headers = cloudevents.encode(_nap(dialect="rembg"))
    text = json.dumps(json.loads(value) | damage)
    value = text.replace('"DEEP"', '{"a":' * 250 + "1" + "}" * 250).encode()
    facts = await bench.serve(None, key=key, value=value, headers=headers)
    assert len(bench.producer.to("jobs.dead-letter")) == 1
    if kept is None:
        assert facts == []
        return
    (fact,) = facts
    assert isinstance(fact, ItemFailed) and fact.job is not None and fact.unreadable
    assert (fact.job_id, fact.error.code) == ("job", ErrorCode.PARAMS_INVALID)
    assert {name: getattr(fact.job, name) for name in kept} == kept
    applied = apply(None, None, fact)
    assert applied.state.status is JobStatus.FAILED


@pytest.mark.parametrize(
    ("key", "damage", "ends"),
    [
        (b"job/3", b"garbage", (3, 1)),
        (b"job/3", {"attempt": 0}, (3, 1)),
        (b"job/3", {"input": 5}, (3, 2)),
        (b"job/3", {"index": "x"}, (3, 2)),
        (b"other", {"input": 5}, (3, 2)),
        (b"job/4", {"input": 5}, None),
        (b"job", b"garbage", None),
        (b"job/2000", b"garbage", None),
        (b"\xff/1", b"[1]", None),
        (None, b"garbage", None),
    ],
)
async def test_an_item_that_cannot_be_read_fails_where_it_is_certain_which_it_is(
    bench: Bench, key: bytes | None, damage: Any, ends: tuple[int, int] | None
) -> None:
    """Nothing else would end the item and its batch."""
    header = _nap(total=5).header()
    value, headers = cloudevents.encode(
        ItemQueued(job_id="job", index=3, attempt=2, job=header, input=ItemInput())
    )
    damaged = isinstance(damage, dict) and json.dumps(json.loads(value) | damage).encode()
    value = damaged or damage
    facts = await bench.serve(None, key=key, value=value, headers=headers)
    assert len(bench.producer.to(TOPICS.dead_letter)) == 1
    failed = [(fact.index, fact.attempt) for fact in facts if isinstance(fact, ItemFailed)]
    assert failed == ([ends] if ends is not None else [])
    assert all(fact.job_id == "job" and fact.unreadable and not fact.job for fact in facts)


@pytest.mark.parametrize("first", ["a job", "an item"])
async def test_what_cannot_be_read_does_not_end_what_runs(bench: Bench, first: str) -> None:
    """No fact says yet that it runs, when another message of its key comes right behind it."""
    good: AnyEvent = _nap()
    if first == "an item":
        header = _nap(total=5).header()
        good = ItemQueued(job_id="job", index=3, job=header, input=ItemInput())
    key = b"job" if first == "a job" else b"job/3"
    value, headers = cloudevents.encode(good)
    bench.processes.hold = asyncio.Event()
    serving = asyncio.ensure_future(bench.serve(good, key=key))
    await settled()
    broken = json.dumps(json.loads(value) | {"inputs": 5, "input": 5}).encode()
    assert await bench.serve(None, key=key, value=broken, headers=headers) == []
    bench.processes.hold.set()
    assert isinstance((await serving)[-1], ItemFinished)
    (late,) = await bench.serve(None, key=key, value=broken, headers=headers)
    assert isinstance(late, ItemFailed) and late.unreadable


async def test_a_failed_attempt_is_in_the_log_before_the_next_is_queued(bench: Bench) -> None:
    bench.processes.run_as = lambda task: ItemOutcome(
        error=JobError.of(ErrorCode.STORE_UNAVAILABLE, "away")
    )
    bench.producer.deliver_at_once = False
    serving = asyncio.ensure_future(bench.serve(_nap()))
    await settled()
    assert [sent.topic for sent in bench.producer.sent] == [TOPICS.events]
    bench.producer.deliver_at_once = True
    bench.producer.deliver(bench.producer.sent[0])
    await serving
    assert len(bench.producer.to(TOPICS.retry)) == 1


def _nested(levels: int) -> str:
    return '{"metadata": {"a": ' + "[" * levels + "]" * levels + "}}"


_HUGE = "x" * (MAX_MESSAGE_BYTES - (128 << 10))
_POISON = {
    "integer": ('{"metadata": {"n": 123456789012345678901234567890, "x": 1e999}}', ItemFinished),
    "NaN": ('{"metadata": {"n": NaN, "\N{CAT FACE}": "\x7f"}}', ItemFinished),
    "year": ('{"created_at": "0001-01-01T00:00:00+00:00"}', ItemFinished),
    "deep": (_nested(150), ItemFinished),
    "deeper": (_nested(195), ItemFailed),
    "deepest": (_nested(198), ItemFailed),
    "trace": (json.dumps({"traceparent": "x" * 1_000_000}), ItemFinished),
    "metadata": (json.dumps({"metadata": {"x": _HUGE}}), ItemFailed),
    "operation": (json.dumps({"operation": _HUGE}), ItemFailed),
    "URL": (json.dumps({"inputs": [{"url": _HUGE}]}), ItemFailed),
    "filename": (json.dumps({"inputs": [{"filename": _HUGE}]}), ItemFailed),
    "all": (json.dumps({"metadata": {"x": _HUGE * 2}}), ItemFailed),
}


@pytest.mark.parametrize(("damage", "ends"), _POISON.values(), ids=_POISON)
async def test_whatever_is_published_its_job_ends_and_no_worker_does(
    bench: Bench, damage: str, ends: type[AnyEvent]
) -> None:
    """Others may publish jobs: one that decodes, but that no event can repeat, is rejected."""
    value, headers = cloudevents.encode(_nap())
    merged = value.decode()[:-1] + "," + damage[1:]
    (fact,) = await bench.serve(None, value=merged.encode(), headers=headers)
    assert type(fact) is ends
    assert len(bench.producer.to(TOPICS.dead_letter)) == (1 if ends is ItemFailed else 0)
    assert (bench.client.acked, bench.crashes.reasons) == ([0], [])
    state = apply(None, None, fact).state
    assert cloudevents.decode_state(cloudevents.encode_state(state).value).status.ended
    for sent in bench.producer.sent:
        written = sum(len(header) for _, header in sent.headers or ())
        assert len(sent.value or b"") + written < MAX_MESSAGE_BYTES - (16 << 10)


@pytest.mark.parametrize("attempt", [1, 2])
async def test_what_nobody_thought_of_fails_its_job_not_the_worker(
    bench: Bench, attempt: int
) -> None:
    bench.processes.run_as = lambda task: ItemOutcome(timings_ms={"infer": "\ud800"})
    submitted = _nap()
    event = ItemQueued(job_id="job", index=0, attempt=2, job=submitted.header(), input=ItemInput())
    (fact,) = await bench.serve(submitted if attempt == 1 else event)
    assert isinstance(fact, ItemFailed) and not fact.unreadable
    assert fact.attempt == attempt
    assert (bench.client.acked, bench.crashes.reasons) == ([0], [])
