"""What the API tells while its broker stands still or dies, and what it makes of it afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from imagemill.kafka.topics import create_topics
from imagemill.local.broker.process import LocalBroker
from producer_api.jobs import deduplication
from schemas import cloudevents, topics
from schemas.events import CancelRequested, JobClaimed
from schemas.times import now
from tests.support.api import RunningApi, Topics, fresh_settings
from tests.support.pictures import picture
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest


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


def accepted(api: RunningApi, job_id: str) -> None:
    """Send that job as clients do: again while the broker, on a busy machine, takes too long."""
    wait_until(lambda: submit(api, job_id), lambda got: got.status_code in (200, 202), timeout_s=60)


def cancelled_jobs(kafka: Topics) -> set[str]:
    found = kafka.messages(topics.JOBS_CONTROL.name)
    events = [cloudevents.decode(message.headers(), message.value()) for message in found]
    return {event.job_id for event in events if isinstance(event, CancelRequested)}


def test_a_submit_that_was_refused_but_reached_the_log_is_cancelled(
    own_broker: LocalBroker, served: RunningApi, kafka: Topics
) -> None:
    accepted(served, str(uuid.uuid4()))
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
    (late,) = wait_until(lambda: {job.job_id for job in kafka.submissions()} - known)
    wait_until(lambda: cancelled_jobs(kafka) == {late})


def test_a_job_under_a_key_that_reached_the_log_late_is_what_a_retry_finds(
    own_broker: LocalBroker, served: RunningApi, kafka: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, doubtful = (str(uuid.uuid4()) for _ in range(2))
    accepted(served, known)
    (fingerprint,) = {job.fingerprint for job in kafka.submissions() if job.job_id == known}
    # With the claim in the log already, the broker can be stopped just before the job is sent.
    monkeypatch.setattr(deduplication, "_OTHERS_JOB_S", 0.5)
    claim = JobClaimed(job_id=doubtful, claim_id="other", fingerprint=fingerprint or "", at=now())
    kafka.publish(topics.JOBS_CONTROL.name, doubtful, *cloudevents.encode(claim))
    files = set(served.stored_files())
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(submit, served, doubtful)
        wait_until(lambda: set(served.stored_files()) - files)
        assert own_broker.pid is not None
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            answer = sending.result()
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
    assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
    wait_until(lambda: doubtful in {job.job_id for job in kafka.submissions()})
    again = wait_until(lambda: submit(served, doubtful), lambda got: got.status_code != 503)
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    for job in kafka.submissions():
        if job.job_id == doubtful:
            (entry,) = job.inputs
            assert (served.settings.home / "objects" / str(entry.key)).is_file()
    assert doubtful not in cancelled_jobs(kafka)


@contextmanager
def api_without_topics(
    bootstrap: str, home: Path, port: int
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """An API process whose topics nobody creates, and its log."""
    home.mkdir()
    environ = {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "IMAGEMILL_HOME": str(home),
        "IMAGEMILL_TOPIC_PREFIX": "nobody.",
        "IMAGEMILL_DELIVERY_TIMEOUT_S": "0.5",
        "PORT": str(port),
    }
    path = home / "api.log"
    with path.open("wb") as log:
        command = [sys.executable, "-m", "producer_api"]
        process = subprocess.Popen(
            command, cwd=home, env=os.environ | environ, stdout=log, stderr=log
        )
    try:
        yield process, path
    finally:
        process.kill()
        process.wait(10)


def test_a_killed_broker_is_a_503_and_then_all_goes_on(
    own_broker: LocalBroker, served: RunningApi, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    before, during, after = (str(uuid.uuid4()) for _ in range(3))
    accepted(served, before)
    wait_until(lambda: served.get(f"/v1/jobs/{before}").status_code == 200)
    files = set(served.stored_files())
    own_broker.kill()
    refused = submit(served, during)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]
    assert set(served.stored_files()) == files
    assert served.get(f"/v1/jobs/{before}").json()["status"] == "queued"
    assert served.get("/readyz").status_code == 503
    away = api_without_topics(own_broker.bootstrap, tmp_path / "away", free_port())
    with away as (process, log):
        # It does not know yet that its topics are missing.
        wait_until(lambda: "serving on" in log.read_text())
        assert process.poll() is None
        own_broker.start()
        process.wait(30)
        assert "nobody.jobs.high is missing" in log.read_text()
    wait_until(lambda: served.get("/readyz").status_code == 200, timeout_s=60)
    accepted(served, after)
    assert served.get(f"/v1/jobs/{before}").status_code == 200
    assert served.get(f"/v1/jobs/{after}").status_code == 200
    assert served.get(f"/v1/jobs/{during}").status_code == 404
