"""Daily quotas: what is counted, when a job is refused, and what the headers show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagemill.settings import ApiSettings
from producer_api.access.caller import ANYONE, Caller
from producer_api.http.problems import Problem
from producer_api.jobs.quotas import DailyQuotas
from producer_api.read_model.changes import ChangeCollector, RetentionCutoff
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.read_model import ReadModel
from schemas.jobs import ItemInput
from schemas.times import from_epoch
from tests.support.messages import PREFIX, submission_message, submitted

URL = ItemInput(url="https://example.org/a.png")


def photo(megapixels: float) -> ItemInput:
    return ItemInput(key="uploads/00/x.0", pixels=int(megapixels * 1e6))


def alice(images: int | None = None, megapixels: float | None = None) -> Caller:
    return Caller(owner="alice", images_per_day=images, megapixels_per_day=megapixels)


class Counting:
    """Quotas over a read model that tests feed by hand: no broker is asked."""

    def __init__(self, home: Path) -> None:
        settings = ApiSettings(_env_file=None, home=home, kafka_bootstrap_servers="127.0.0.1:1")  # type: ignore[call-arg]
        self.read_model = ReadModel(settings)
        self.read_model._writer.complete()
        self.read_model._ready.set()
        self.quotas = DailyQuotas(self.read_model)

    def submit(self, caller: Caller, job_id: str, *inputs: ItemInput) -> None:
        with self.quotas.reserve(caller, job_id, inputs):
            pass

    def read(self, owner: str, job_id: str, *inputs: ItemInput) -> None:
        """Read a job as the feed does, and pass on that it changed."""
        self.read_model._changed(self.write(owner, job_id, *inputs))

    def write(self, owner: str, job_id: str, *inputs: ItemInput) -> set[str]:
        """Write a job as the feed does; return the ids that it passes on then."""
        job = submitted(
            job_id, total=len(inputs), owner=owner, created_at=from_epoch(time.time())
        ).model_copy(update={"inputs": inputs})
        changes = ChangeCollector(PREFIX).collect(
            [submission_message(job)], RetentionCutoff.current(7)
        )
        self.read_model._writer.apply(changes)
        return changes.job_ids()

    def left(self, caller: Caller) -> list[int]:
        return [state.remaining for state in self.quotas.states(caller)]

    def refusal(self, caller: Caller, *inputs: ItemInput) -> Problem:
        with pytest.raises(Problem) as caught:
            self.submit(caller, "job-99999", *inputs)
        return caught.value


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Counting]:
    made = Counting(tmp_path)
    yield made
    made.read_model._writer.close()


def test_nothing_is_taken_from_a_quota_before_the_topics_are_read(counting: Counting) -> None:
    """While a file is filled again, nobody seems to have submitted anything today."""
    counting.read_model._ready.clear()
    with pytest.raises(ReadModelBehind):
        counting.quotas.check_left(alice(1))
    with pytest.raises(ReadModelBehind):
        counting.submit(alice(1), "job-00001", URL)
    counting.submit(alice(), "job-00002", URL)
    counting.quotas.check_left(alice())


def test_a_job_is_counted_before_the_read_model_has_read_it_and_once_after(
    counting: Counting,
) -> None:
    counting.submit(alice(10, 50), "job-00001", photo(12), URL)
    assert counting.left(alice(10, 50)) == [8, 38]
    counting.read("alice", "job-00001", photo(12), URL)
    assert counting.left(alice(10, 50)) == [8, 38]


def test_a_job_is_counted_once_before_the_feed_has_passed_it_on(counting: Counting) -> None:
    """The feed writes on a thread of its own."""
    counting.submit(alice(10), "job-00001", URL)
    counting.write("alice", "job-00001", URL)
    assert counting.left(alice(10)) == [9]
    counting.submit(alice(10), "job-00002", URL)
    assert counting.left(alice(10)) == [8]


def test_a_job_with_more_images_than_are_left_is_refused_whole(counting: Counting) -> None:
    counting.submit(alice(3), "job-00001", URL, URL)
    refused = counting.refusal(alice(3), URL, URL)
    assert (refused.status, refused.code) == (429, "quota_exceeded")
    assert "3 images a day" in refused.detail and "1 are left" in refused.detail
    assert "This job has 2" in refused.detail
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert refused.headers["RateLimit-Policy"] == '"images-per-day";q=3;qu="images";w=86400'
    # A smaller one fits.
    counting.submit(alice(3), "job-00002", URL)
    assert counting.left(alice(3)) == [0]


def test_megapixels_are_those_of_uploaded_images(counting: Counting) -> None:
    caller = alice(megapixels=20.5)
    counting.submit(caller, "job-00001", photo(12.5), URL, URL)
    refused = counting.refusal(caller, photo(8.1))
    assert refused.headers["RateLimit"].startswith('"megapixels-per-day";r=8;')
    counting.submit(caller, "job-00002", photo(7.5))
    # Half a megapixel is left, which the headers round down.
    counting.quotas.check_left(caller)
    assert counting.left(caller) == [0]


def test_nothing_left_is_answered_before_the_body_is_read(counting: Counting) -> None:
    counting.quotas.check_left(alice(1))
    counting.submit(alice(1), "job-00001", URL)
    with pytest.raises(Problem) as caught:
        counting.quotas.check_left(alice(1))
    assert caught.value.code == "quota_exceeded"


def test_a_job_that_was_not_published_is_not_counted(counting: Counting) -> None:
    with pytest.raises(ConnectionError), counting.quotas.reserve(alice(1), "job-00001", [URL]):
        raise ConnectionError
    with counting.quotas.reserve(alice(1), "job-00002", [URL]):
        counting.quotas.release("job-00002")
    assert counting.left(alice(1)) == [1]


def test_owners_and_callers_without_a_quota_are_not_limited_by_others(counting: Counting) -> None:
    counting.submit(alice(1), "job-00001", URL)
    bob = Caller(owner="bob", images_per_day=1)
    counting.submit(bob, "job-00002", URL)
    counting.submit(ANYONE, "job-00003", *[URL] * 50)
    counting.submit(Caller(owner="carol"), "job-00004", *[URL] * 50)
    assert counting.quotas.states(ANYONE) == ()
    # Another key of the same owner.
    assert counting.left(Caller(owner="alice", key_id="k2", images_per_day=5)) == [4]


async def test_jobs_of_two_requests_at_once_are_counted_both(counting: Counting) -> None:
    """While one is published, the other is checked."""
    published = asyncio.Event()

    async def submit(job_id: str) -> str:
        try:
            with counting.quotas.reserve(alice(1), job_id, [URL]):
                await published.wait()
        except Problem as problem:
            return problem.code
        return "queued"

    tasks = [asyncio.create_task(submit(f"job-0000{number}")) for number in range(3)]
    await asyncio.sleep(0)
    published.set()
    outcomes = sorted(await asyncio.gather(*tasks))
    assert outcomes == ["queued", "quota_exceeded", "quota_exceeded"]
