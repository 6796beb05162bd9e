"""Cancel, events, templates, uploads, statistics and workers, on a real broker."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from schemas import cloudevents, topics
from schemas.events import CancelRequested, JobSubmitted
from schemas.jobs import JobState
from schemas.reducer import apply
from schemas.times import from_epoch, now
from tests.support.api import RunningApi, Topics
from tests.support.messages import state_of
from tests.support.pictures import picture
from tests.support.waiting import wait_until

Serve = Callable[..., tuple[RunningApi, Topics]]


def submit(api: RunningApi, **body: Any) -> dict[str, Any]:
    answer = api.post("/v1/jobs", json={"operation": "noop"} | body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def submission(kafka: Topics, job_id: str) -> JobSubmitted:
    (job,) = (job for job in kafka.submissions() if job.job_id == job_id)
    return job


def cancel_requests(kafka: Topics) -> dict[str, CancelRequested]:
    found = kafka.messages(topics.JOBS_CONTROL.name)
    requests_ = [cloudevents.decode(message.headers(), message.value()) for message in found]
    return {event.job_id: event for event in requests_ if isinstance(event, CancelRequested)}


def judge_cancel(kafka: Topics, job_id: str, before: JobState | None = None) -> threading.Thread:
    """Stand in for the track agent: fold the request as soon as it is there."""

    def judge() -> None:
        asked = wait_until(lambda: cancel_requests(kafka).get(job_id))
        kafka.publish_state(apply(before, None, asked).state)

    thread = threading.Thread(target=judge)
    thread.start()
    return thread


def test_a_cancel_is_answered_with_the_judgement(api: RunningApi, kafka: Topics) -> None:
    job = submit(api, metadata={"order": 1})
    agent = judge_cancel(kafka, job["id"])
    answer = api.post(f"/v1/jobs/{job['id']}/cancel")
    agent.join()
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["error"]["code"] == "cancelled"
    assert cancel_requests(kafka)[job["id"]].job == submission(kafka, job["id"])
    again = api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["job_status"]) == (409, "cancelled")


def test_a_cancel_after_the_end_is_a_409(api: RunningApi, kafka: Topics) -> None:
    job = submit(api)
    kafka.end(submission(kafka, job["id"]))
    api.get(f"/v1/jobs/{job['id']}?wait=10")
    answer = api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_ended")
    assert "succeeded" in answer.json()["detail"]
    assert job["id"] not in cancel_requests(kafka)


def test_a_cancel_that_lost_the_race_is_a_409(api: RunningApi, kafka: Topics) -> None:
    job = submit(api)
    event = submission(kafka, job["id"])

    def finish_first() -> None:
        wait_until(lambda: cancel_requests(kafka).get(job["id"]))
        kafka.end(event)

    agent = threading.Thread(target=finish_first)
    agent.start()
    answer = api.post(f"/v1/jobs/{job['id']}/cancel")
    agent.join()
    assert (answer.status_code, answer.json()["job_status"]) == (409, "succeeded")


def test_cancelling_what_is_not_there(api: RunningApi) -> None:
    assert api.post(f"/v1/jobs/{uuid.uuid4()}/cancel").status_code == 404


def test_without_a_processor_a_cancel_is_accepted(serve: Serve) -> None:
    api, kafka = serve(cancel_wait_s=0.2)
    job = submit(api)
    answer = api.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert job["id"] in cancel_requests(kafka)


class Events:
    """What an EventSource sees."""

    def __init__(self, api: RunningApi, job_id: str, last: str | None = None) -> None:
        headers = {"Last-Event-ID": last} if last is not None else {}
        self.response = requests.get(
            f"{api.url}/v1/jobs/{job_id}/events", stream=True, timeout=20, headers=headers
        )
        self._lines: Iterator[str] = self.response.iter_lines(decode_unicode=True, chunk_size=1)

    def next(self) -> tuple[str, str, dict[str, Any]]:
        """Id, name and data of the next event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line and fields:
                return fields["id"], fields["event"], json.loads(fields["data"])
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        raise EOFError


def test_events_tell_status_progress_and_end(api: RunningApi, kafka: Topics) -> None:
    urls = [{"url": f"https://example.org/{number}.png"} for number in range(3)]
    job = submit(api, operation="detect-objects", inputs=urls)
    event = submission(kafka, job["id"])
    events = Events(api, job["id"])
    assert events.response.headers["Content-Type"].startswith("text/event-stream")
    assert events.next()[1:] == ("status", job)
    kafka.publish_state(state_of(event, 1, "running", "r.."))
    identity, name, data = events.next()
    assert (identity, name, data["status"]) == ("1", "status", "running")
    kafka.publish_state(state_of(event, 2, "running", "sr."))
    identity, name, data = events.next()
    assert (identity, name) == ("2", "progress")
    assert data["progress"] == {"total": 3, "processed": 1, "failed": 0}
    kafka.end(event, revision=7)
    identity, name, data = events.next()
    assert (identity, name, data["status"]) == ("7", "finished", "succeeded")
    with pytest.raises(EOFError):
        events.next()


def test_events_resume_after_the_last_one_seen(api: RunningApi, kafka: Topics) -> None:
    job = submit(api)
    event = submission(kafka, job["id"])
    kafka.publish_state(state_of(event, 3, "running", "r"))
    wait_until(lambda: api.get(f"/v1/jobs/{job['id']}").json()["status"] == "running")
    resumed = Events(api, job["id"], last="3")
    kafka.end(event, revision=4)
    assert resumed.next()[:2] == ("4", "finished")
    for last in ("3", "9" * 5000, "three"):
        assert Events(api, job["id"], last=last).next()[:2] == ("4", "finished")
    assert Events(api, job["id"], last="4").response.status_code == 204


def test_events_of_an_unknown_job(api: RunningApi) -> None:
    assert api.get(f"/v1/jobs/{uuid.uuid4()}/events").status_code == 404


def test_a_stopping_server_lets_its_followers_go(beside: Callable[[], RunningApi]) -> None:
    api = beside()
    job = submit(api)
    events = Events(api, job["id"])
    events.next()
    api.stop()
    with pytest.raises(EOFError):
        events.next()


def test_what_is_no_template_is_none_and_gives_way_to_one(api: RunningApi, kafka: Topics) -> None:
    """Anyone may write to the topic."""
    bad = {
        "strange": b"not even JSON",
        "newer": b'{"operation":"noop","since":"v9"}',
        "deep": b'{"operation":"noop","params":' + b'{"a":' * 250 + b"1" + b"}" * 251,
        "long": b'{"operation":"noop","params":{"a":%s}}' % (b"9" * 40),
        "empty": b"",
    }
    for name, value in bad.items():
        kafka.publish(topics.TEMPLATES.name, name, value, None)
    listed = api.get("/v1/templates")
    assert listed.status_code == 200
    assert not bad.keys() & {template["name"] for template in listed.json()["templates"]}
    for name in bad:
        assert api.get(f"/v1/templates/{name}").status_code == 404
    assert api.post("/v1/jobs", json={"template": "strange"}).status_code == 422
    good = {"name": "strange", "operation": "noop"}
    assert api.post("/v1/templates", json=good).status_code == 201
    assert api.get("/v1/templates/strange").json()["operation"] == "noop"


def test_templates_are_used_and_overridden(api: RunningApi, kafka: Topics) -> None:
    template = {
        "name": "busy",
        "operation": "detect-objects",
        "params": {"confidence": 0.3, "iou": 0.2},
    }
    created = api.post("/v1/templates", json=template)
    assert (created.status_code, created.headers["Location"]) == (201, "/v1/templates/busy")
    assert api.post("/v1/templates", json=template).status_code == 201
    other = api.post("/v1/templates", json=template | {"params": {}})
    assert (other.status_code, other.json()["code"]) == (409, "template_exists")
    assert api.get("/v1/templates/busy").json() == created.json()
    assert created.json() in api.get("/v1/templates").json()["templates"]

    inputs = [{"url": "https://example.org/a.png"}]
    job = submit(api, operation=None, template="busy", inputs=inputs, params={"iou": 0.9})
    assert (job["operation"], job["template"]) == ("detect-objects", "busy")
    assert job["params"] == {"confidence": 0.3, "iou": 0.9}
    assert submission(kafka, job["id"]).params == {"confidence": 0.3, "iou": 0.9}

    assert api.session.delete(f"{api.url}/v1/templates/busy").status_code == 204
    assert api.get("/v1/templates/busy").status_code == 404
    assert api.session.delete(f"{api.url}/v1/templates/busy").status_code == 404
    assert api.post("/v1/jobs", json={"template": "busy", "inputs": inputs}).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "../x", "operation": "noop"}, "name"),
        ({"name": "x", "operation": "make-coffee"}, "operation"),
        ({"name": "x", "operation": "detect-objects", "params": {"iou": 9}}, "params.iou"),
        ({"name": "x", "operation": "noop", "colour": "red"}, "colour"),
        ({"operation": "noop"}, "name"),
    ],
)
def test_templates_that_no_job_could_use(api: RunningApi, body: dict[str, Any], field: str) -> None:
    answer = api.post("/v1/templates", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_an_upload_is_made_first_and_used_later(api: RunningApi, kafka: Topics) -> None:
    target = api.post("/v1/uploads", json={"content_type": "image/png"}).json()
    url = target["url"].replace("http://localhost:0", api.url)
    photo = picture("png")
    sent = requests.request(
        target["method"], url, data=photo, headers=target["headers"], timeout=20
    )
    assert sent.status_code == 204
    job = submit(
        api,
        operation="detect-objects",
        inputs=[{"upload_id": target["upload_id"], "filename": "cup.png"}],
    )
    (image,) = submission(kafka, job["id"]).inputs
    assert (image.filename, image.content_type, image.bytes) == ("cup.png", "image/png", len(photo))
    assert (api.settings.home / "objects" / str(image.key)).read_bytes() == photo


def test_a_job_s_own_file_cannot_be_named_as_an_upload(api: RunningApi) -> None:
    """It goes with that job, whoever else may use it then."""
    form = {"operation": "detect-objects"}
    owner = api.post("/v1/jobs", data=form, files={"image": ("a.png", picture("png"))}).json()
    answer = api.post("/v1/jobs", json=form | {"inputs": [{"upload_id": owner["id"]}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "not_found")


@pytest.mark.parametrize(
    ("data", "status"), [(b"no image", 415), (b"", 422), (picture()[:-50], 422)]
)
def test_an_upload_of_no_image_leaves_nothing(api: RunningApi, data: bytes, status: int) -> None:
    before = api.stored_files()
    target = api.post("/v1/uploads", json={}).json()
    url = target["url"].replace("http://localhost:0", api.url)
    assert requests.put(url, data=data, timeout=20).status_code == status
    assert api.stored_files() == before


def test_upload_urls_cannot_be_changed_or_used_too_late(api: RunningApi) -> None:
    target = api.post("/v1/uploads", json={}).json()
    url = target["url"].replace("http://localhost:0", api.url)
    elsewhere = url.replace(target["upload_id"], str(uuid.uuid4()))
    assert requests.put(elsewhere, data=picture(), timeout=20).status_code == 403
    assert requests.get(url, timeout=20).status_code == 403


def test_signed_urls_answer_until_they_expire(api: RunningApi) -> None:
    from imagemill.storage import open_signer, open_store

    store = open_store(api.settings)
    store.put("results/some-job/0.png", picture("png"), "image/png")

    def path(key: str, expires_in_s: float) -> str:
        expires = int(time.time() + expires_in_s)
        return "/files/" + open_signer(api.settings).path("GET", key, expires, "cup.png")

    answer = api.get(path("results/some-job/0.png", 60))
    assert answer.content == picture("png")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert api.get(path("results/some-job/0.png", -60)).status_code == 410
    assert api.get(path("results/some-job/0.png", 60) + "0").status_code == 403
    assert api.get("/files/results/some-job/0.png").status_code == 403
    assert api.get(path("results/some-job/1.png", 60)).status_code == 404


def test_counts_equal_what_was_submitted(serve: Serve) -> None:
    api, kafka = serve()
    for number in range(60):
        submit(api, priority=["high", "normal", "low"][number % 3])
    for job in kafka.submissions()[:20]:
        kafka.end(job)
    stats = wait_until(
        lambda: api.get("/v1/stats").json(),
        lambda got: got["jobs"]["by_status"]["succeeded"] == 20,
    )
    assert stats["current"] is True
    assert stats["jobs"]["total"] == 60
    assert stats["jobs"]["by_status"]["queued"] == 40
    for counts in stats["jobs"]["by_priority"].values():
        assert sum(counts.values()) == 20
    assert sum(stats["jobs"]["by_operation"]["noop"].values()) == 60
    assert stats["lag"] == {"high": 20, "normal": 20, "low": 20}
    assert stats["rates"]["submitted_per_s"] == 1.0
    assert stats["oldest_queued_age_s"] > 0


def test_workers_are_those_that_beat(api: RunningApi, kafka: Topics) -> None:
    def beat(name: str, age_s: float, **fields: Any) -> None:
        document = {"at": from_epoch(time.time() - age_s), "slots": 2, "busy": 1} | fields
        kafka.publish("workers.heartbeats", name, json.dumps(document).encode(), None)

    beat("w-1", 0, models=["u2netp"])
    beat("w-2", 120)
    beat("w-3", 7200)
    kafka.publish("workers.heartbeats", "w-4", b"not json", None)
    workers = wait_until(
        lambda: api.get("/v1/workers").json()["workers"], lambda got: len(got) == 2
    )
    first, second = workers
    assert (first["worker_id"], first["alive"], first["slots"]) == ("w-1", True, 2)
    assert first["models"] == ["u2netp"]
    assert (second["worker_id"], second["alive"]) == ("w-2", False)
    assert api.get("/v1/stats").json()["workers"] == {"alive": 1, "slots": 2, "busy": 1}
    assert first["at"] <= now()
