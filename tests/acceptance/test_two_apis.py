"""Two API processes on one Kafka: what one accepted, the other knows."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.pictures import picture
from tests.support.system import System
from tests.support.tokens import Tokens


@pytest.fixture(scope="module")
def other(nimble: System, next_port: Callable[[], int]) -> Iterator[str]:
    """The address of a second API."""
    port = next_port()
    yield nimble.second_api(port)
    nimble.end(f"producer_api-{port}")


def test_a_job_is_never_unknown_at_the_other_api(nimble: System, other: str) -> None:
    first, second = requests.Session(), requests.Session()
    for number in range(100):
        here, there = (nimble.url, other) if number % 2 else (other, nimble.url)
        queued = first.post(f"{here}/v1/jobs", json={"operation": "noop"}, timeout=30)
        path = queued.headers["Location"]
        read = second.get(there + path, timeout=30)
        assert read.status_code == 200, f"job {number}: {read.status_code} {read.text}"
        assert read.json()["id"] == queued.json()["id"]
        assert first.get(f"{there}{path}?wait=30", timeout=60).json()["status"] == "succeeded"


def test_an_unknown_job_is_unknown_at_both(nimble: System, other: str) -> None:
    for url in (nimble.url, other):
        assert requests.get(f"{url}/v1/jobs/{uuid.uuid4()}", timeout=30).status_code == 404


def test_a_job_is_followed_cancelled_and_listed_at_the_other_api(
    nimble: System, other: str, tokens: Tokens
) -> None:
    files = [("image", (f"{n}.png", picture("png"), "image/png")) for n in range(3)]
    fields = {"operation": "hold", "params": json.dumps(tokens.params)}
    job_id = nimble.post("/v1/jobs", files=files, data=fields).json()["id"]
    with requests.get(f"{other}/v1/jobs/{job_id}/events", stream=True, timeout=60) as stream:
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        tokens.give()
        assert any('"processed":1' in line for line in lines)
        cancelled = requests.post(f"{other}/v1/jobs/{job_id}/cancel", timeout=60)
        assert cancelled.status_code == 200
        assert "event: finished" in list(lines)
    assert cancelled.json()["status"] == "cancelled"
    assert nimble.job(job_id) == cancelled.json()
    for url in (nimble.url, other):
        newest = requests.get(f"{url}/v1/jobs?status=cancelled&limit=1", timeout=30).json()
        assert newest["jobs"] == [cancelled.json()]


def test_one_key_sent_to_both_at_once_is_one_job(nimble: System, other: str) -> None:
    for _ in range(5):
        key = uuid.uuid4().hex
        barrier = threading.Barrier(2)

        def send(url: str, key: str = key, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            answer = requests.post(
                f"{url}/v1/jobs",
                files={"image": ("a.png", picture("png"), "image/png")},
                data={"operation": "transform", "params": '{"steps": [{"do": "grayscale"}]}'},
                headers={"Idempotency-Key": key},
                timeout=60,
            )
            assert answer.status_code in (200, 202), answer.text
            return answer.json()["id"]

        with ThreadPoolExecutor(2) as pool:
            ids = set(pool.map(send, (nimble.url, other)))
        assert len(ids) == 1
        [job_id] = ids
        job = nimble.finished(job_id)
        assert (job["status"], job["progress"]["processed"]) == ("succeeded", 1)
        assert nimble.get(job["items"][0]["links"]["result"]).ok
        assert requests.get(f"{other}/v1/jobs/{job_id}?wait=30", timeout=60).json() == job


def test_a_template_is_known_at_the_other_api_at_once(nimble: System, other: str) -> None:
    for number in range(10):
        name = f"shared-{uuid.uuid4().hex[:8]}"
        body = {"name": name, "operation": "noop"}
        here, there = (nimble.url, other) if number % 2 else (other, nimble.url)
        assert requests.post(f"{here}/v1/templates", json=body, timeout=30).status_code == 201
        used = requests.post(f"{there}/v1/jobs", json={"template": name}, timeout=30)
        assert used.status_code == 202, used.text
        assert requests.delete(f"{there}/v1/templates/{name}", timeout=30).status_code == 204
        gone = requests.get(f"{here}/v1/templates/{name}", timeout=30)
        assert gone.status_code == 404
