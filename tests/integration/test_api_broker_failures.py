"""What the API tells while its broker stands still or dies, and what it makes of it afterwards."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from imagemill.kafka import create_topics
from imagemill.local.broker import LocalBroker
from schemas import codec, topics
from schemas.events import CancelRequested
from tests.support.api import RunningApi, Topics, eventually, fresh_settings
from tests.support.pictures import picture


@pytest.fixture(scope="module")
def own_broker(
    start_broker: Callable[[Path], AbstractContextManager[LocalBroker]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalBroker]:
    """One for all tests here: each leaves it running, and a start takes seconds."""
    with start_broker(tmp_path_factory.mktemp("own") / "kafka") as local:
        yield local


@pytest.fixture(scope="module")
def served(
    own_broker: LocalBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningApi]:
    """An API that gives the broker a second and a half."""
    home = tmp_path_factory.mktemp("served")
    settings = fresh_settings(
        own_broker.bootstrap, home, delivery_timeout_s=1.5, catch_up_timeout_s=2.0
    )
    create_topics(settings)
    api = RunningApi(settings).start()
    yield api
    api.stop()


@pytest.fixture
def kafka(served: RunningApi) -> Iterator[Topics]:
    """The topics of `served`."""
    with closing(Topics(served.settings)) as topics:
        yield topics


def submit(api: RunningApi, job_id: str):
    files = {"image": ("a.jpg", picture())}
    return api.put(f"/v1/jobs/{job_id}", data={"operation": "detect-objects"}, files=files)


def cancelled_jobs(kafka: Topics) -> set[str]:
    found = kafka.messages(topics.JOBS_CONTROL.name)
    events = [codec.decode(message.headers(), message.value()) for message in found]
    return {event.job_id for event in events if isinstance(event, CancelRequested)}


def test_a_submit_that_was_refused_but_reached_the_log_is_cancelled(
    own_broker: LocalBroker, served: RunningApi, kafka: Topics
) -> None:
    warm = served.post("/v1/jobs", json={"operation": "noop"})
    assert warm.status_code == 202
    known = {job.job_id for job in kafka.submissions()}
    files = served.stored_files()
    assert own_broker.pid is not None
    os.kill(own_broker.pid, signal.SIGSTOP)
    try:
        answer = served.post(
            "/v1/jobs", data={"operation": "detect-objects"}, files={"image": ("a.jpg", picture())}
        )
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
    assert served.stored_files() == files
    # The bytes of the message were on their way when the broker stood still.
    (late,) = eventually(lambda: {job.job_id for job in kafka.submissions()} - known)
    eventually(lambda: cancelled_jobs(kafka) == {late})


def test_a_killed_broker_is_a_503_and_then_all_goes_on(
    own_broker: LocalBroker, served: RunningApi
) -> None:
    before, during, after = (str(uuid.uuid4()) for _ in range(3))
    assert submit(served, before).status_code == 202
    eventually(lambda: served.get(f"/v1/jobs/{before}").status_code == 200)
    files = set(served.stored_files())
    own_broker.kill()
    refused = submit(served, during)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert set(served.stored_files()) == files
    assert served.get(f"/v1/jobs/{before}").json()["status"] == "queued"
    assert served.get("/readyz").status_code == 503
    own_broker.start()
    eventually(lambda: served.get("/readyz").status_code == 200, timeout_s=60)
    eventually(lambda: submit(served, after).status_code in (200, 202), timeout_s=60)
    assert served.get(f"/v1/jobs/{before}").status_code == 200
    assert served.get(f"/v1/jobs/{after}").status_code == 200
    assert served.get(f"/v1/jobs/{during}").status_code == 404
