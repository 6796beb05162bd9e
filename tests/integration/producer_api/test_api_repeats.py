"""The same request twice: one job, whoever asks, wherever, also after a restart."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from schemas import cloudevents, topics
from schemas.events import JobClaimed
from schemas.times import from_epoch, now
from tests.support.api import RunningApi, Topics
from tests.support.pictures import picture


@pytest.fixture(scope="module")
def other(api_settings: Any, api: RunningApi, tmp_path_factory: Any) -> Iterator[RunningApi]:
    """A second API beside the first, with a read side of its own."""
    path = tmp_path_factory.mktemp("other") / "projection.db"
    running = RunningApi(api_settings.model_copy(update={"projection_path": path})).start()
    yield running
    running.stop()


def send(api: RunningApi, key: str, photo: bytes | None = None, **fields: str) -> requests.Response:
    return requests.post(
        f"{api.url}/v1/jobs",
        data={"operation": "detect-objects"} | fields,
        files={"image": ("cup.jpg", photo or picture())},
        headers={"Idempotency-Key": key},
        timeout=20,
    )


def count(kafka: Topics, job_id: str) -> int:
    return sum(job.job_id == job_id for job in kafka.submissions())


def test_the_same_key_and_body_find_the_same_job(
    api: RunningApi, other: RunningApi, kafka: Topics
) -> None:
    key = str(uuid.uuid4())
    first = send(api, key)
    assert first.status_code == 202
    files = set(api.stored_files())
    for again in (send(api, key), send(other, key)):
        assert again.status_code == 202
        assert again.json() == first.json()
        assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert count(kafka, first.json()["id"]) == 1
    assert set(api.stored_files()) == files


@pytest.mark.parametrize(
    "change",
    [
        {"photo": picture(width=65)}, {"params": '{"confidence": 0.9}'}, {"priority": "high"},
        {"metadata": '{"a": 1}'}, {"operation": "remove-background"},
    ],
    ids=["image", "params", "priority", "metadata", "operation"],
)  # fmt: skip
def test_the_same_key_with_another_body_is_refused(
    api: RunningApi, other: RunningApi, kafka: Topics, change: dict[str, Any]
) -> None:
    key = str(uuid.uuid4())
    first = send(api, key)
    files = set(api.stored_files())
    for server in (api, other):
        answer = send(server, key, **change)
        assert (answer.status_code, answer.json()["code"]) == (422, "repeat_differs")
    assert count(kafka, first.json()["id"]) == 1
    assert set(api.stored_files()) == files


def test_two_clients_with_one_key_at_once_make_one_job(api: RunningApi, kafka: Topics) -> None:
    key = str(uuid.uuid4())
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: send(api, key), range(8)))
    assert {answer.status_code for answer in answers} == {202}
    (job_id,) = {answer.json()["id"] for answer in answers}
    assert count(kafka, job_id) == 1


def test_a_key_holds_across_a_restart(kafka: Topics, beside: Callable[[], RunningApi]) -> None:
    key = str(uuid.uuid4())
    one = beside()
    first = send(one, key)
    one.stop()
    again = beside()
    assert send(again, key).json() == first.json()
    assert send(again, key, priority="low").status_code == 422
    assert count(kafka, first.json()["id"]) == 1


def test_a_repeat_of_an_ended_job_answers_its_end(api: RunningApi, kafka: Topics) -> None:
    job_id = f"order-{uuid.uuid4().hex[:8]}"
    first = api.put(f"/v1/jobs/{job_id}", json={"operation": "noop"})
    assert (first.status_code, first.json()["id"]) == (202, job_id)
    (job,) = (job for job in kafka.submissions() if job.job_id == job_id)
    kafka.end(job)
    assert api.get(f"/v1/jobs/{job_id}?wait=10").json()["status"] == "succeeded"
    again = api.put(f"/v1/jobs/{job_id}", json={"operation": "noop"})
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    assert count(kafka, job_id) == 1


def test_two_puts_at_once_join_one_job(api: RunningApi, kafka: Topics) -> None:
    job_id = str(uuid.uuid4())

    def put(_: int) -> requests.Response:
        files = {"image": ("cup.jpg", picture())}
        return requests.put(
            f"{api.url}/v1/jobs/{job_id}", data={"operation": "detect-objects"}, files=files,
            timeout=20,
        )  # fmt: skip

    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(put, range(6)))
    assert [answer.status_code for answer in answers] == [202] * 6
    assert count(kafka, job_id) == 1
    different = api.put(f"/v1/jobs/{job_id}", json={"operation": "noop"})
    assert different.json()["code"] == "repeat_differs"


def claimed(kafka: Topics, fingerprint: str, at: str | None = None) -> str:
    """An id that another API claimed for a request, and then died."""
    job_id = f"claim-{uuid.uuid4().hex[:8]}"
    claim = JobClaimed(
        job_id=job_id, claim_id=uuid.uuid4().hex, fingerprint=fingerprint, at=at or now()
    )
    value, headers = cloudevents.encode(claim)
    kafka.publish(topics.JOBS_CONTROL.name, job_id, value, headers)
    return job_id


def fingerprint_of(kafka: Topics, job_id: str) -> str:
    (found,) = {job.fingerprint for job in kafka.submissions() if job.job_id == job_id}
    assert found is not None
    return found


def test_the_first_claim_in_the_log_wins_before_its_job_is_there(
    api: RunningApi, kafka: Topics
) -> None:
    files = set(api.stored_files())
    job_id = claimed(kafka, "of another request")
    refused = api.put(
        f"/v1/jobs/{job_id}", files={"image": ("a.jpg", picture())},
        data={"operation": "detect-objects"},
    )  # fmt: skip
    assert (refused.status_code, refused.json()["code"]) == (422, "repeat_differs")
    assert count(kafka, job_id) == 0
    assert set(api.stored_files()) == files


def test_a_claim_whose_job_never_came_does_not_hold_up_the_same_request(
    api: RunningApi, kafka: Topics
) -> None:
    body = {"operation": "noop", "metadata": {"order": 7}}
    known = api.put(f"/v1/jobs/{uuid.uuid4()}", json=body).json()["id"]
    job_id = claimed(kafka, fingerprint_of(kafka, known))
    answer = api.put(f"/v1/jobs/{job_id}", json=body)
    assert (answer.status_code, answer.json()["id"]) == (202, job_id)
    assert count(kafka, job_id) == 1


def test_a_claim_is_over_when_its_time_is(api: RunningApi, kafka: Topics) -> None:
    job_id = claimed(kafka, "of another request", from_epoch(time.time() - JobClaimed.LASTS_S - 1))
    assert api.put(f"/v1/jobs/{job_id}", json={"operation": "noop"}).status_code == 202
    assert count(kafka, job_id) == 1


def test_a_request_waits_for_the_job_of_the_same_one_that_came_first(
    api: RunningApi, kafka: Topics
) -> None:
    body = {"operation": "noop", "metadata": {"order": 8}}
    known = api.put(f"/v1/jobs/{uuid.uuid4()}", json=body).json()["id"]
    job_id = claimed(kafka, fingerprint_of(kafka, known))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(api.put, f"/v1/jobs/{job_id}", json=body)
        (job,) = (job for job in kafka.submissions() if job.job_id == known)
        value, headers = cloudevents.encode(job.model_copy(update={"job_id": job_id}))
        kafka.publish(topics.JOBS_NORMAL.name, job_id, value, headers)
        answer = waiting.result()
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (202, "true")
    assert count(kafka, job_id) == 1


def test_two_apis_at_once_let_one_of_two_requests_win(
    api: RunningApi, other: RunningApi, kafka: Topics
) -> None:
    for _ in range(20):
        job_id = str(uuid.uuid4())

        def put(server: RunningApi, job_id: str = job_id) -> requests.Response:
            body = {"operation": "noop", "metadata": {"sender": server.url}}
            return server.put(f"/v1/jobs/{job_id}", json=body)

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(put, (api, other)))
        assert sorted(answer.status_code for answer in answers) == [202, 422]
        (winner,) = (answer.json() for answer in answers if answer.status_code == 202)
        (job,) = (job for job in kafka.submissions() if job.job_id == job_id)
        assert job.metadata == winner["metadata"]


def test_a_key_that_is_none(api: RunningApi) -> None:
    answer = send(api, "k" * 256)
    assert (answer.status_code, answer.json()["code"]) == (400, "key_invalid")
