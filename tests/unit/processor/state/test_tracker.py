"""The tracker applies facts, publishes states and ends, and acks when these are in the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import cloudevents
from schemas.events import (
    Fact,
    ItemFailed,
    ItemFinished,
    ItemStarted,
    JobExpired,
    JobFinished,
)
from schemas.jobs import JobStatus
from schemas.topics import MAX_MESSAGE_BYTES
from tests.support.edge import TOPICS, WaitingProducer, settled
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
from tests.unit.processor.trackerbench import Bench, Disk


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_job_of_one_is_published_with_its_end(bench: Bench) -> None:
    submitted = job(1)
    await bench.track(item_fact(ItemStarted, submitted, 0), item_fact(ItemFinished, submitted, 0))
    await bench.all_acked()
    assert [state.status for state in bench.states] == [JobStatus.RUNNING, JobStatus.SUCCEEDED]
    (event,) = bench.finished
    assert event.status is JobStatus.SUCCEEDED
    assert event.items == bench.states[-1].items
    assert [sent.partition for sent in bench.producer.sent] == [0, 0, 0]


async def test_nothing_is_acked_before_its_state_is_in_the_log(bench: Bench) -> None:
    bench.producer.deliver_at_once = False
    await bench.track(item_fact(ItemFinished, job(1), 0))
    state, result = bench.producer.sent
    bench.producer.deliver(result)
    await settled()
    assert bench.client.acked == []
    bench.producer.deliver(state)
    await settled()
    assert bench.client.acked == [0]


async def test_the_progress_of_a_batch_is_published_once_an_interval() -> None:
    bench = Bench(interval_s=0.2)
    submitted = job(40)
    facts = [item_fact(ItemFinished, submitted, index) for index in range(39)]
    await bench.track(accepted(submitted), *facts)
    assert bench.client.acked == []
    await bench.all_acked()
    assert len(bench.states) < 10
    assert bench.states[-1].progress.processed == 39
    items = [s for s in bench.producer.to(TOPICS.state) if b"/" in (s.key or b"")]
    assert len(items) == 39
    await bench.track(item_fact(ItemFailed, submitted, 39))
    assert bench.finished[0].progress.failed == 1, "the end is published at once"
    await bench.all_acked()


async def test_an_ended_batch_leaves_one_record(bench: Bench) -> None:
    submitted = job(3)
    facts = [item_fact(ItemFinished, submitted, index) for index in (2, 0, 1)]
    await bench.track(accepted(submitted), *facts)
    await bench.all_acked()
    assert list(bench.compacted()) == [b"job"]
    assert list(bench.disk) == [b"job"]
    assert [item.result for item in bench.finished[0].items] == [
        {"key": f"results/job/{index}.png"} for index in range(3)
    ]


async def test_progress_that_is_due_is_not_published_after_the_end(bench: Bench) -> None:
    """A table is recovered from the last record of each job in the changelog."""
    submitted = job(2)
    await bench.track(accepted(submitted), item_fact(ItemFinished, submitted, 0))
    bench.tracker.flush_all()
    await bench.track(item_fact(ItemFinished, submitted, 1))
    await bench.all_acked()
    assert bench.states[-1].status is JobStatus.SUCCEEDED
    revisions = [state.revision for state in bench.states]
    assert revisions == sorted(revisions)


@pytest.mark.parametrize("last", ["the end", "more progress", "the end while it moves"])
async def test_a_send_that_waits_for_space_is_not_overtaken_by_a_later_one(last: str) -> None:
    """With an older state written last, the job would never end for readers."""
    producer = WaitingProducer()
    bench = Bench(interval_s=60, producer=producer)
    submitted = job(3 if last == "more progress" else 2)
    await bench.track(accepted(submitted), item_fact(ItemFinished, submitted, 0))
    await producer.fill(TOPICS.state)
    if last == "the end while it moves":
        ending = asyncio.ensure_future(bench.track(item_fact(ItemFinished, submitted, 1)))
        await settled()
        bench.tracker.flush_all()
        await settled()
        producer.drain()
        await ending
    else:
        bench.tracker.flush_all()
        await settled()
        producer.drain()
        await bench.track_at_once(item_fact(ItemFinished, submitted, 1))
        bench.tracker.flush_all()
    await bench.all_acked()
    revisions = [state.revision for state in bench.states]
    assert revisions == sorted(revisions) and revisions[-1] == 3


async def test_a_revoke_publishes_what_is_held_back(bench: Bench) -> None:
    slow = Bench(interval_s=60)
    submitted = job(3)
    await slow.track(accepted(submitted), item_fact(ItemFinished, submitted, 1))
    await asyncio.wait_for(slow.handover().revoke(), 2)
    assert slow.client.acked == [0, 1]
    assert slow.states[-1].progress.processed == 1


async def test_a_repeat_after_the_end_publishes_the_same_again(bench: Bench) -> None:
    """The worker may have died before the first one was delivered."""
    submitted = job(2)
    facts = [accepted(submitted), *(item_fact(ItemFinished, submitted, n) for n in (0, 1))]
    await bench.track(*facts)
    again = Bench(bench.disk)
    await again.track(facts[-1])
    await again.all_acked()
    (first,), (second,) = bench.finished, again.finished
    assert first == second
    assert again.states == bench.states[-1:]


async def test_repeats_after_the_end_are_published_once(bench: Bench) -> None:
    """A crash repeats all facts since the last commit, and a batch's end is large."""
    submitted = job(30)
    facts = [item_fact(ItemFinished, submitted, index) for index in range(30)]
    await bench.track(accepted(submitted), *facts)
    again = Bench(bench.disk)
    await again.track(*facts, *facts)
    await again.all_acked()
    assert (len(again.finished), len(again.states)) == (1, 1)


@settings(max_examples=60)
@given(st.data())
def test_a_crash_at_any_message_changes_no_outcome(data: st.DataObject) -> None:
    """The worker dies when a part of its sends is in the log; facts not acked are read again.

    Its disk may hold more than the log (it restarts there), or be gone (another takes over).
    """
    submitted, items = data.draw(histories(max_total=3, ends=True))
    lanes = items if submitted.total == 1 else [[accepted(submitted)], *items]
    if data.draw(st.booleans()):
        lanes = [*lanes, [cancel(submitted)]]
    for index in (None, 0):
        strange = [unreadable(submitted, index, attempt) for attempt in (1, 2)]
        lanes = [*lanes, data.draw(st.lists(st.sampled_from(strange), max_size=2))]
    facts: list[Fact] = data.draw(interleaved(lanes))
    tracked = data.draw(st.integers(0, len(facts)))
    published_first = data.draw(st.booleans())
    delivered_part = data.draw(st.floats(0, 1))
    disk_survives = data.draw(st.booleans())

    async def run() -> tuple[list[JobFinished], dict[bytes, bytes]]:
        first = Bench(interval_s=60)
        first.producer.deliver_at_once = False
        await first.track(*facts[:tracked])
        if published_first:
            first.tracker.flush_all()
            await settled()
        sent = first.producer.sent
        for message in sent[: round(len(sent) * delivered_part)]:
            first.producer.deliver(message)
        await settled()
        del sent[round(len(sent) * delivered_part) :]
        disk = first.disk if disk_survives else Disk(first.compacted())
        second = Bench(disk, interval_s=0.001)
        second.producer.sent[:] = sent
        await second.track(*facts[len(first.client.acked) :])
        await second.all_acked()
        return second.finished, second.compacted()

    ends, log = asyncio.run(run())
    expected = Reader().read(facts).finished[0]
    assert ends and all(event == ends[0] for event in ends)
    assert (ends[0].status, ends[0].items) == (expected.status, expected.items)
    assert list(log) == [b"job"], "the log holds the job alone, and its last record is the end"
    assert cloudevents.decode_state(log[b"job"]).items == ends[0].items


_KEPT = {"key": "results/job/0.json"}


@pytest.mark.parametrize(
    ("total", "large", "left"),
    [
        (8, {"data": "x" * (MAX_MESSAGE_BYTES // 6)}, {"data": None, "data_omitted": True}),
        (400, {"data": 1, "url": "https://s3/?X-Amz-Security-Token=" + "x" * 10_000},
         {"data": None, "data_omitted": True, "url": None, "url_omitted": True}),
        (60, {"of": "x" * 60_000}, {"result_omitted": True}),
    ],
    ids=["data", "URLs", "what nobody knows"],
)  # fmt: skip
async def test_a_batch_whose_results_do_not_fit_one_message_ends_all_the_same(
    bench: Bench, total: int, large: dict[str, Any], left: dict[str, Any]
) -> None:
    submitted = job(total)
    await bench.track(accepted(submitted))
    for index in range(total):
        await bench.track(item_fact(ItemFinished, submitted, index, result=large | _KEPT))
    await bench.all_acked()
    (event,) = bench.finished
    assert event.status is JobStatus.SUCCEEDED
    assert all(len(sent.value or b"") < MAX_MESSAGE_BYTES for sent in bench.producer.sent)
    for item in event.items:
        assert item.result == left | _KEPT


async def test_an_expired_job_is_deleted_with_one_tombstone(bench: Bench) -> None:
    await bench.track(item_fact(ItemFinished, job(1), 0))
    expired = JobExpired(job_id="job", at=at(3600))
    await bench.track(expired, expired)
    await bench.all_acked()
    assert [sent.value is None for sent in bench.producer.to(TOPICS.state)] == [False, True]
    assert bench.compacted() == {} == bench.disk


async def test_a_running_job_and_a_newer_one_of_the_same_id_do_not_expire(bench: Bench) -> None:
    early = JobExpired(job_id="job", at=at(-1))
    await bench.track(item_fact(ItemStarted, job(1), 0), JobExpired(job_id="job", at=at(3600)))
    await bench.track(item_fact(ItemFinished, job(1), 0), early)
    await bench.all_acked()
    assert set(bench.compacted()) == {b"job"} == set(bench.disk)


async def test_a_record_stays_until_its_tombstone_is_in_the_log(bench: Bench) -> None:
    await bench.track(item_fact(ItemFinished, job(1), 0))
    bench.producer.deliver_at_once = False
    tracking = asyncio.ensure_future(bench.track(JobExpired(job_id="job", at=at(3600))))
    await settled()
    assert set(bench.disk) == {b"job"}
    bench.producer.deliver(bench.producer.sent[-1])
    await tracking
    await bench.all_acked()
    assert bench.disk == {}


async def test_what_cannot_be_read_of_no_job_makes_none(bench: Bench) -> None:
    await bench.track(unreadable(job(5), 3))
    await bench.all_acked()
    assert (bench.producer.sent, bench.disk) == ([], {})


async def test_what_cannot_be_read_lets_a_running_batch_go_on(bench: Bench) -> None:
    submitted = job(2)
    await bench.track(
        accepted(submitted),
        item_fact(ItemStarted, submitted, 0),
        unreadable(submitted),
        unreadable(submitted, 0),
        unreadable(submitted, 1),
        item_fact(ItemFinished, submitted, 0),
    )
    await bench.all_acked()
    (event,) = bench.finished
    assert [item.status for item in event.items] == [JobStatus.SUCCEEDED, JobStatus.FAILED]


async def test_what_is_no_fact_goes_to_the_dead_letters(bench: Bench) -> None:
    await bench.track(job(1))
    await bench.track(job(1), headers=[])
    await bench.track(job(1), value=None)
    await bench.track(accepted(job(2)), value=_with_params("x" * (3 << 20)))
    await bench.all_acked()
    assert len(bench.producer.to(TOPICS.dead_letter)) == 4
    assert not bench.disk


def _with_params(text: str) -> bytes:
    submitted = job(2).evolve(params={"of": text})
    return cloudevents.encode(accepted(submitted)).value


async def test_a_cancel_of_a_job_that_is_too_large_ends_it(bench: Bench) -> None:
    submitted = job(2).evolve(params={"of": "x" * (MAX_MESSAGE_BYTES - (128 << 10))})
    await bench.track(cancel(submitted))
    await bench.all_acked()
    assert bench.finished[0].status is JobStatus.CANCELLED
    assert all(len(sent.value or b"") < MAX_MESSAGE_BYTES * 7 // 8 for sent in bench.producer.sent)


async def test_a_record_that_cannot_be_read_stops_its_job_and_no_other(bench: Bench) -> None:
    submitted = job(2)
    await bench.track(accepted(submitted))
    bench.disk[b"job/0"] = b"?"
    await bench.track(
        item_fact(ItemFinished, submitted, 0), item_fact(ItemFinished, job(1, "b"), 0)
    )
    await bench.all_acked()
    assert len(bench.producer.to(TOPICS.dead_letter)) == 1
    assert [event.job_id for event in bench.finished] == ["b"]
    assert bench.crashes.reasons == []


async def test_a_worker_that_cannot_send_restarts_and_acks_nothing(bench: Bench) -> None:
    bench.producer.refuse = KafkaTimeoutError()
    with pytest.raises(KafkaTimeoutError):
        await bench.track(item_fact(ItemFinished, job(1), 0))
    assert len(bench.crashes.reasons) == 1
    assert (bench.client.acked, bench.admission.running) == ([], 0)


async def test_a_disk_that_fails_restarts_the_worker(bench: Bench) -> None:
    def full(_key: bytes, _value: bytes) -> None:
        raise OSError("No space left on device")

    bench.disk.put = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="space"):
        await bench.track(item_fact(ItemFinished, job(1), 0))
    assert (len(bench.crashes.reasons), bench.client.acked) == (1, [])
