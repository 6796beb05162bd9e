"""Old jobs are removed everywhere, newer ones stay; a dry run only lists."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from imagemill.cli import main
from imagemill.storage import job_of_key, upload_key
from producer_api.jobs.retention import Retention, Sweep
from schemas import cloudevents, topics
from schemas.events import JobSubmitted
from schemas.jobs import Item, ItemInput, JobState, JobStatus
from schemas.times import from_epoch, now
from tests.support.api import RunningApi, Topics
from tests.support.pictures import picture
from tests.support.waiting import wait_until

DAY_S = 86_400
Serve = Callable[..., tuple[RunningApi, Topics]]


@pytest.fixture
def swept(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> tuple[RunningApi, Topics]:
    """An API whose settings the command line shares, and its topics."""
    api, kafka = serve()
    settings = api.settings
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("IMAGEMILL_HOME", str(settings.home))
    monkeypatch.setenv("IMAGEMILL_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("IMAGEMILL_TOPIC_PARTITIONS", str(settings.topic_partitions))
    for name in ("OBJECT_STORE_URL", "R2_BUCKET_NAME", "UPLOAD_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    return api, kafka


def submit(api: RunningApi, **fields: str) -> str:
    answer = api.post(
        "/v1/jobs",
        data={"operation": "detect-objects"} | fields,
        files={"image": ("a.jpg", picture())},
    )
    assert answer.status_code == 202
    return answer.json()["id"]


def store_result(api: RunningApi, job_id: str) -> Item:
    path = api.settings.home / "objects" / "results" / job_id / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a picture")
    result = {"key": f"results/{job_id}/0.png"}
    return Item(index=0, status=JobStatus.SUCCEEDED, result=result)


def test_what_is_old_goes_and_what_is_newer_stays(
    swept: tuple[RunningApi, Topics], capsys: pytest.CaptureFixture[str]
) -> None:
    api, kafka = swept
    old, recent, running = (submit(api) for _ in range(3))
    short = submit(api, expires_in="1")
    for job in kafka.submissions():
        if job.job_id == running:
            continue
        items = (store_result(api, job.job_id),)
        ended = from_epoch(time.time() - (8 if job.job_id == old else 1) * DAY_S)
        state = kafka.end(job, items=items)
        kafka.publish_state(state.model_copy(update={"revision": 6, "finished_at": ended}))
    orphan = api.settings.home / "objects" / upload_key("never-used", 0)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"a picture")
    os.utime(orphan, (time.time() - 16 * DAY_S,) * 2)
    fresh = api.settings.home / "objects" / upload_key("just-made", 0)
    fresh.parent.mkdir(exist_ok=True)
    fresh.write_bytes(b"a picture")
    expires_at = api.get(f"/v1/jobs/{short}").json()["expires_at"]
    wait_until(lambda: now() > expires_at)
    files = set(api.stored_files())

    assert main(["retention", "--dry-run"]) == 0
    listed = capsys.readouterr().out
    assert old in listed and short in listed and upload_key("never-used", 0) in listed
    assert recent not in listed and running not in listed
    assert "2 jobs and 1 files without a job would be removed" in listed
    assert set(api.stored_files()) == files
    assert api.get(f"/v1/jobs/{old}").status_code == 200

    assert main(["retention"]) == 0
    kafka.forget_expired()
    wait_until(lambda: api.get(f"/v1/jobs/{old}").status_code == 404)
    wait_until(lambda: api.get(f"/v1/jobs/{short}").status_code == 404)
    objects = api.settings.home / "objects"
    kept = {job_of_key(str(path.relative_to(objects))) for path in api.stored_files()}
    assert old not in kept and short not in kept and "never-used" not in kept
    assert {recent, running, "just-made"} <= kept
    assert api.get(f"/v1/jobs/{recent}").json()["status"] == "succeeded"
    assert api.get(f"/v1/jobs/{running}").json()["status"] == "queued"

    capsys.readouterr()
    assert main(["retention", "--dry-run"]) == 0
    assert "0 jobs and 0 files" in capsys.readouterr().out


def test_what_a_job_names_but_does_not_own_stays(swept: tuple[RunningApi, Topics]) -> None:
    """Another one's file in the bucket, an upload that other jobs use, another job's input."""
    api, kafka = swept
    others = submit(api)
    objects = api.settings.home / "objects"
    used = ["cat.jpg", "originals/cat.jpg", upload_key("an-upload", 0), upload_key(others, 0)]
    for key in used:
        path = objects / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture())
        # As old as one may be that a job which waited as long as it could has used.
        os.utime(path, (time.time() - 14.9 * DAY_S,) * 2)
    ended = from_epoch(time.time() - 8 * DAY_S)
    # The second can have no file of its own, not even by its id: none begins with a dot.
    names = ["of-another-1", ".of-another-2"]
    for name in names:
        job = JobSubmitted(
            job_id=name, operation="detect-objects", total=len(used), created_at=ended,
            inputs=tuple(ItemInput(key=key) for key in used),
        )  # fmt: skip
        kafka.publish(topics.JOBS_NORMAL.name, name, *cloudevents.encode(job))
        kafka.publish_state(kafka.end(job).model_copy(update={"revision": 6, "finished_at": ended}))
    store_result(api, names[0])
    nobody = JobState(job_id="nobody", status="failed", outcomes="f", total=1, finished_at=ended)
    kafka.publish_state(nobody.model_copy(update={"job_id": "no job"}))

    assert main(["retention"]) == 0
    kafka.forget_expired()
    wait_until(lambda: api.get(f"/v1/jobs/{names[0]}").status_code == 404)
    assert {str(path.relative_to(objects)) for path in api.stored_files()} == set(used)


def test_the_api_sweeps_by_itself_and_goes_on_after_a_failure(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, failed = Retention.sweep, threading.Event()

    async def fail_once(retention: Retention) -> Sweep:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("an unexpected failure")
        return await sweep(retention)

    monkeypatch.setattr(Retention, "sweep", fail_once)
    api, kafka = serve(retention_interval_s=0.2)
    assert failed.wait(20)
    job_id = submit(api, expires_in="1")
    kafka.end(kafka.submissions()[0])
    wait_until(lambda: api.stored_files() == [])
    wait_until(lambda: kafka.messages("jobs.control") != [])
    kafka.forget_expired()
    wait_until(lambda: api.get(f"/v1/jobs/{job_id}").status_code == 404)
