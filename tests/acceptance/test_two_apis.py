"""Two API processes on one Kafka: each knows the jobs that the other accepted."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.pictures import picture
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def other(nimble: System, free_port: Callable[[], int]) -> Iterator[str]:
    """The URL of a second API."""
    port = free_port()
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
    # Each API reads the state from the topic for itself.
    wait_until(lambda: nimble.job(job_id), lambda read: read == cancelled.json())
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


def at_once(
    nimble: System, other: str, send: Callable[[str, str], requests.Response]
) -> dict[str, requests.Response]:
    """Send a request to both APIs at the same moment; return both answers."""
    barrier = threading.Barrier(2)

    def one(name: str, url: str) -> requests.Response:
        barrier.wait()
        return send(name, url)

    with ThreadPoolExecutor(2) as pool:
        sent = {
            name: pool.submit(one, name, url)
            for name, url in (("first", nimble.url), ("second", other))
        }
        return {name: answer.result() for name, answer in sent.items()}


def put(url: str, job_id: str, sender: str) -> requests.Response:
    body = {"operation": "noop", "metadata": {"sender": sender}}
    return requests.put(f"{url}/v1/jobs/{job_id}", json=body, timeout=60)


def test_of_two_requests_with_one_id_at_once_one_wins(nimble: System, other: str) -> None:
    winners = set()
    for number in range(40):
        job_id = str(uuid.uuid4())
        answers = at_once(nimble, other, lambda name, url, job_id=job_id: put(url, job_id, name))
        codes = {name: answer.status_code for name, answer in answers.items()}
        assert sorted(codes.values()) == [202, 422], f"round {number}: {codes}"
        [winner] = [name for name, code in codes.items() if code == 202]
        [loser] = [answer for answer in answers.values() if answer.status_code == 422]
        assert loser.json()["code"] == "repeat_differs"
        for url in (nimble.url, other):
            job = requests.get(f"{url}/v1/jobs/{job_id}?wait=30", timeout=60).json()
            assert (job["status"], job["metadata"]) == ("succeeded", {"sender": winner})
            assert put(url, job_id, winner).status_code == 200
            assert put(url, job_id, "third").status_code == 422
        winners.add(winner)
    assert winners == {"first", "second"}, "one of the APIs never wins: this tests too little"


def test_of_two_images_with_one_key_at_once_one_is_processed(nimble: System, other: str) -> None:
    widths = {"first": 40, "second": 50}
    for number in range(10):
        key = uuid.uuid4().hex

        def send(name: str, url: str, key: str = key) -> requests.Response:
            return requests.post(
                f"{url}/v1/jobs",
                files={"image": ("a.png", picture("png", width=widths[name]), "image/png")},
                data={"operation": "transform", "params": '{"steps": [{"do": "grayscale"}]}'},
                headers={"Idempotency-Key": key},
                timeout=60,
            )

        answers = at_once(nimble, other, send)
        codes = {name: answer.status_code for name, answer in answers.items()}
        assert sorted(codes.values()) == [202, 422], f"round {number}: {codes}"
        [winner] = [name for name, code in codes.items() if code == 202]
        job = nimble.finished(answers[winner].json()["id"])
        assert job["status"] == "succeeded"
        assert job["items"][0]["result"]["width"] == widths[winner]


def test_an_id_keeps_its_winner_while_an_api_starts_again(
    nimble: System, other: str, free_port: Callable[[], int]
) -> None:
    port = free_port()
    third = nimble.second_api(port)
    job_id = str(uuid.uuid4())
    answers = at_once(nimble, third, lambda name, url: put(url, job_id, name))
    codes = {name: answer.status_code for name, answer in answers.items()}
    assert sorted(codes.values()) == [202, 422]
    [winner] = [name for name, code in codes.items() if code == 202]
    nimble.end(f"producer_api-{port}")
    assert nimble.second_api(port) == third
    assert put(third, job_id, "fourth").json()["code"] == "repeat_differs"
    assert put(third, job_id, winner).ok
    assert nimble.finished(job_id)["metadata"] == {"sender": winner}
    nimble.end(f"producer_api-{port}")


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
