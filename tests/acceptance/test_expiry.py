"""Expired jobs: deleted everywhere, and their ids free for new jobs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from imagemill.settings import ApiSettings
from schemas.times import now
from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.api import Topics
from tests.support.pictures import picture
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def topics(nimble: System) -> Topics:
    """The topics of the system, read by a client of the cluster."""
    return Topics(
        ApiSettings(
            _env_file=None,  # type: ignore[call-arg]
            kafka_bootstrap_servers=nimble.environ["KAFKA_BOOTSTRAP_SERVERS"],
            topic_prefix=nimble.environ["IMAGEMILL_TOPIC_PREFIX"],
            topic_partitions=int(nimble.environ["IMAGEMILL_TOPIC_PARTITIONS"]),
        )
    )


def put(system: System, job_id: str, width: int, files: int = 1, **fields: str) -> dict[str, Any]:
    """Run a job of that id which scales a picture to that width; return it when it has ended."""
    params = json.dumps({"steps": [{"do": "resize", "width": width}]})
    images = [("image", (f"{n}.png", picture("png", 60, 30), "image/png")) for n in range(files)]
    answer = system.put(
        f"/v1/jobs/{job_id}",
        files=images,
        data={"operation": "transform", "params": params, **fields},
    )
    assert answer.status_code == 202, answer.text
    return system.finished(job_id)


def files_of(system: System, job_id: str) -> list[Path]:
    """List the keys of a job in the store."""
    folder = system.home / "objects"
    return [path for path in folder.rglob("*") if path.is_file() and job_id in str(path)]


def last_states(topics: Topics, job_id: str) -> dict[str, bytes | None]:
    """Return the last message of each of the job's keys on jobs.state."""
    return {
        message.key().decode(): message.value()
        for message in topics.messages("jobs.state")
        if message.key().decode().split("/")[0] == job_id
    }


def is_gone(system: System, job_id: str) -> None:
    """Wait until the API does not know the job."""
    wait_until(lambda: system.get(f"/v1/jobs/{job_id}").status_code, lambda got: got == 404)


@pytest.mark.parametrize("files", [1, 3])
def test_an_expired_job_is_removed_everywhere(nimble: System, topics: Topics, files: int) -> None:
    kept = put(nimble, str(uuid.uuid4()), 20)
    job = put(nimble, str(uuid.uuid4()), 20, files, expires_in="2")
    assert job["status"] == "succeeded"
    assert job["expires_at"] > job["created_at"]
    assert len(files_of(nimble, job["id"])) == 2 * files
    url = job["items"][0]["result"]["url"]
    assert requests.get(url, timeout=30).ok

    is_gone(nimble, job["id"])
    assert nimble.get(job["items"][0]["links"]["result"]).status_code == 404
    assert nimble.get(job["links"]["events"]).status_code == 404
    assert requests.get(url, timeout=30).status_code == 404
    assert files_of(nimble, job["id"]) == []
    listed = nimble.get("/v1/jobs?limit=100").json()["jobs"]
    assert job["id"] not in [entry["id"] for entry in listed]
    states = last_states(topics, job["id"])
    assert job["id"] in states
    assert set(states.values()) == {None}, "a key of the job has no tombstone"

    assert nimble.job(kept["id"]) == kept
    assert len(files_of(nimble, kept["id"])) == 2


def test_the_id_of_a_removed_job_starts_a_new_job(nimble: System) -> None:
    job_id = str(uuid.uuid4())
    first = put(nimble, job_id, 20, expires_in="1")
    is_gone(nimble, job_id)
    second = put(nimble, job_id, 10)
    assert second["status"] == "succeeded"
    assert second["created_at"] > first["created_at"]
    assert [first["items"][0]["result"]["width"], second["items"][0]["result"]["width"]] == [20, 10]
    assert nimble.get(second["items"][0]["links"]["result"]).ok
    # Sweeps run on, and have deleted nothing but the first job.
    other = put(nimble, str(uuid.uuid4()), 20, expires_in="1")
    is_gone(nimble, other["id"])
    assert nimble.job(job_id) == second
    assert nimble.get(second["items"][0]["links"]["result"]).ok


def test_an_item_that_ends_late_does_not_end_a_cancelled_job_again(
    nimble: System, topics: Topics, tokens: Tokens
) -> None:
    answer = nimble.post(
        "/v1/jobs",
        files={"image": ("one.png", picture("png"), "image/png")},
        data={"operation": "hold", "params": json.dumps(tokens.params), "expires_in": "1"},
    )
    job_id = answer.json()["id"]
    wait_until(lambda: nimble.job(job_id)["status"], lambda status: status == "running")
    cancelled = nimble.post(f"/v1/jobs/{job_id}/cancel").json()
    assert cancelled["status"] == "cancelled"
    wait_until(now, lambda moment: moment > cancelled["expires_at"])
    # Sweeps that could delete the job run before its item ends.
    short = nimble.submitted(operation="noop", expires_in=1, priority="high")
    tokens.give()
    nimble.finished(short)
    is_gone(nimble, short)
    assert nimble.job(job_id) == cancelled
    ends = [found for found in topics.messages("jobs.results") if found.key().decode() == job_id]
    assert [json.loads(end.value())["status"] for end in ends] == ["cancelled"]
