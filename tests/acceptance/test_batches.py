"""Batches: partial failure, live progress, and cancelling before, during and after the run."""

from __future__ import annotations

import io
import json
import threading
import uuid
from typing import Any

import pytest
import requests
from PIL import Image

from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.pictures import picture, png_header
from tests.support.waiting import wait_until

BROKEN = 3
# A PNG with header and end but too few pixels: accepted at upload, and impossible to decode.
UNDECODABLE = png_header(64, 48)


def form(system: System, files: list[tuple[str, bytes]], **fields: str) -> dict[str, Any]:
    """Queue a batch with a form; return the answer."""
    parts = [("image", (name, content, "image/png")) for name, content in files]
    answer = system.post("/v1/jobs", files=parts, data=fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


def held(system: System, tokens: Tokens, files: list[tuple[str, bytes]]) -> str:
    """Queue a batch whose items each wait for a token; return its id."""
    return form(system, files, operation="hold", params=json.dumps(tokens.params))["id"]


def ten() -> list[tuple[str, bytes]]:
    """Ten files of different widths."""
    return [(f"photo {index}.png", picture("png", 40 + index, 30)) for index in range(10)]


def ten_with_one_broken() -> list[tuple[str, bytes]]:
    """Ten files, one of which cannot be decoded."""
    files = ten()
    files[BROKEN] = ("broken.png", UNDECODABLE)
    return files


def has_processed(system: System, job_id: str, count: int) -> dict[str, Any]:
    """Wait until that many items have ended; return the job."""
    return wait_until(
        lambda: system.job(job_id),
        lambda job: job["progress"]["processed"] >= count,
        timeout_s=60,
    )


def is_running(system: System, job_id: str) -> dict[str, Any]:
    """Wait until one of its items runs; return the job."""
    return wait_until(
        lambda: system.job(job_id),
        lambda job: any(item["status"] == "running" for item in job["items"]),
        timeout_s=60,
    )


class Follower:
    """A thread that reads a job's events until the server ends the stream."""

    def __init__(self, url: str) -> None:
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self._answer = requests.get(url, stream=True, timeout=60)
        assert self._answer.headers["Content-Type"].startswith("text/event-stream")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        for line in self._answer.iter_lines(chunk_size=1, decode_unicode=True):
            name, colon, value = line.partition(": ")
            if line and colon and name:
                fields[name] = value
            elif not line and fields:
                event = (int(fields["id"]), fields["event"], json.loads(fields["data"]))
                self.events.append(event)
                fields = {}

    def all(self) -> list[tuple[int, str, dict[str, Any]]]:
        """Wait for the end of the stream; return all events."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream did not end with the job"
        return self.events


@pytest.fixture(scope="module")
def partly_failed(nimble: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished batch of ten files, one of which cannot be decoded."""
    tokens = Tokens(tmp_path_factory.mktemp("batch") / "tokens")
    tokens.open()
    return nimble.finished(held(nimble, tokens, ten_with_one_broken()))


def test_one_broken_file_fails_alone(partly_failed: dict[str, Any]) -> None:
    assert (partly_failed["status"], partly_failed["error"]) == ("succeeded", None)
    assert partly_failed["progress"] == {"total": 10, "processed": 10, "failed": 1}
    assert [item["index"] for item in partly_failed["items"]] == list(range(10))
    for item in partly_failed["items"]:
        expected = "failed" if item["index"] == BROKEN else "succeeded"
        assert (item["status"], item["attempts"]) == (expected, 1)
    broken = partly_failed["items"][BROKEN]
    assert broken["result"] is None
    assert "result" not in broken["links"]
    assert (broken["error"]["code"], broken["error"]["class"]) == ("image_undecodable", "input")


def test_each_item_has_its_own_name_and_result(
    nimble: System, partly_failed: dict[str, Any]
) -> None:
    for item, (name, _) in zip(partly_failed["items"], ten_with_one_broken(), strict=True):
        assert item["filename"] == name
        answer = nimble.get(f"/v1/jobs/{partly_failed['id']}/items/{item['index']}/result")
        if item["index"] == BROKEN:
            assert answer.status_code == 409
            assert answer.json()["code"] == "image_undecodable"
            continue
        assert Image.open(io.BytesIO(answer.content)).size == (40 + item["index"], 30)
        assert name.replace(" ", "%20") in answer.headers["Content-Disposition"]


def test_a_batch_of_broken_files_fails(nimble: System, tokens: Tokens) -> None:
    tokens.open()
    files = [(f"{index}.png", UNDECODABLE) for index in range(3)]
    job = nimble.finished(held(nimble, tokens, files))
    assert job["status"] == "failed"
    assert job["progress"] == {"total": 3, "processed": 3, "failed": 3}
    assert job["error"]["code"] == "image_undecodable"
    assert job["error"]["message"].startswith("All 3 items failed.")


def test_progress_is_seen_while_it_happens(nimble: System, tokens: Tokens) -> None:
    job_id = held(nimble, tokens, ten())
    follower = Follower(f"{nimble.url}/v1/jobs/{job_id}/events")
    polled = []
    for number in range(1, 10):
        tokens.give()
        polled.append(has_processed(nimble, job_id, number))
    assert [job["progress"]["processed"] for job in polled] == list(range(1, 10))
    assert {job["status"] for job in polled} == {"running"}
    tokens.give()
    nimble.finished(job_id)

    events = follower.all()
    revisions = [revision for revision, _, _ in events]
    assert revisions == sorted(set(revisions))
    counts = [data["progress"]["processed"] for _, _, data in events]
    assert counts == sorted(counts)
    assert len(set(counts)) > 5, f"the stream had only {sorted(set(counts))}"
    assert [name for _, name, _ in events][-1] == "finished"
    assert {name for _, name, _ in events[:-1]} <= {"status", "progress"}
    assert events[-1][2] == nimble.job(job_id)
    resumed = requests.get(
        f"{nimble.url}/v1/jobs/{job_id}/events",
        headers={"Last-Event-ID": str(revisions[-1])},
        timeout=30,
    )
    assert resumed.status_code == 204


def test_a_stream_that_broke_resumes_after_the_last_event(nimble: System, tokens: Tokens) -> None:
    job_id = held(nimble, tokens, ten()[:2])
    tokens.give()
    job = has_processed(nimble, job_id, 1)
    url = f"{nimble.url}/v1/jobs/{job_id}/events"
    with requests.get(url, stream=True, timeout=30) as first:
        seen = next(line for line in first.iter_lines(chunk_size=1) if line.startswith(b"id: "))
    headers = {"Last-Event-ID": seen.decode().removeprefix("id: ")}
    with requests.get(url, headers=headers, stream=True, timeout=30) as second:
        tokens.give()
        lines = list(second.iter_lines(chunk_size=1, decode_unicode=True))
    ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    assert min(ids) > int(headers["Last-Event-ID"])
    assert "event: finished" in lines
    assert job["status"] == "running"


def test_a_running_batch_is_cancelled_after_its_running_items(
    nimble: System, tokens: Tokens
) -> None:
    job_id = held(nimble, tokens, ten())
    tokens.give()
    tokens.give()
    wait_until(
        lambda: nimble.job(job_id),
        lambda job: (
            job["progress"]["processed"] == 2
            and any(item["status"] == "running" for item in job["items"])
        ),
        timeout_s=60,
    )
    answer = nimble.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 200
    job = answer.json()
    assert job["status"] == "cancelled"
    assert job["error"]["code"] == "cancelled"
    statuses = sorted(item["status"] for item in job["items"])
    assert statuses == ["cancelled"] * 8 + ["succeeded"] * 2
    assert job["progress"] == {"total": 10, "processed": 2, "failed": 0}
    # The running item ends. Had another one started, its token would be gone.
    for _ in range(3):
        tokens.give()
    after = held(nimble, Tokens(tokens.folder.parent / "after", opened=True), [_one()])
    assert nimble.finished(after)["status"] == "succeeded"
    assert tokens.left == 2
    assert nimble.job(job_id) == job, "a cancelled job changed"


def test_a_queued_job_is_cancelled_at_once(nimble: System, tokens: Tokens) -> None:
    running = held(nimble, tokens, [_one()])
    is_running(nimble, running)
    queued = held(nimble, tokens, [_one()])
    answer = nimble.post(f"/v1/jobs/{queued}/cancel")
    assert answer.status_code == 200
    job = answer.json()
    assert (job["status"], job["started_at"]) == ("cancelled", None)
    assert nimble.job(running)["status"] == "running"
    tokens.give()
    assert nimble.finished(running)["status"] == "succeeded"
    assert nimble.job(queued) == job


def test_a_job_that_has_ended_cannot_be_cancelled(nimble: System, tokens: Tokens) -> None:
    tokens.open()
    job = nimble.finished(held(nimble, tokens, [_one()]))
    answer = nimble.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 409
    assert (answer.json()["code"], answer.json()["job_status"]) == ("job_ended", "succeeded")
    assert nimble.job(job["id"]) == job
    assert nimble.post(f"/v1/jobs/{uuid.uuid4()}/cancel").status_code == 404


def test_cancels_that_race_with_the_end_are_answered_truthfully(nimble: System) -> None:
    for _ in range(20):
        job_id = nimble.submitted(operation="noop")
        answer = nimble.post(f"/v1/jobs/{job_id}/cancel")
        job = nimble.finished(job_id)
        if answer.status_code == 200:
            assert answer.json() == job
            assert job["status"] == "cancelled"
        else:
            assert answer.status_code == 409
            assert job["status"] == "succeeded"


def _one() -> tuple[str, bytes]:
    return ("one.png", picture("png"))
