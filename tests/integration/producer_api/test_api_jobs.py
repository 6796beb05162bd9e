"""Jobs over HTTP on a real broker: submitted, read, waited for, listed, found again."""

from __future__ import annotations

import gzip
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imagemill.storage import upload_key
from schemas.events import JobSubmitted
from schemas.jobs import Item, JobStatus
from tests.support.api import RunningApi, Topics, fresh_settings
from tests.support.pictures import picture
from tests.support.waiting import wait_until


def submission(kafka: Topics, job_id: str) -> JobSubmitted:
    (job,) = (job for job in kafka.submissions() if job.job_id == job_id)
    return job


def waiting_requests(api: RunningApi) -> int:
    (line,) = (
        line
        for line in api.get("/metrics").text.splitlines()
        if line.startswith("imagemill_waiting_requests ")
    )
    return int(float(line.split()[1]))


def test_a_photo_is_stored_and_queued_before_the_answer(api: RunningApi, kafka: Topics) -> None:
    photo = picture()
    answer = api.post(
        "/v1/jobs",
        files={"image": ("../cup.jpg", photo)},
        data={
            "params": '{"confidence": 0.5}', "operation": "detect-objects", "priority": "high",
            "metadata": '{"order": 7}', "webhook_url": "https://example.org/hook",
        },
        headers={"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"},
    )  # fmt: skip
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert uuid.UUID(job["id"])
    assert job["status"] == "queued"
    assert job["priority"] == "high"
    assert job["params"] == {"confidence": 0.5}
    assert job["metadata"] == {"order": 7}
    assert job["progress"] == {"total": 1, "processed": 0, "failed": 0}
    assert job["items"][0]["filename"] == "cup.jpg"

    event = submission(kafka, job["id"])
    (image,) = event.inputs
    assert image.key == upload_key(job["id"], 0)
    assert (api.settings.home / "objects" / image.key).read_bytes() == photo
    assert (image.bytes, image.content_type) == (len(photo), "image/jpeg")
    assert event.webhook is not None and event.webhook.url == "https://example.org/hook"
    assert event.traceparent == "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert api.get(f"/v1/jobs/{job['id']}").json() == job


def test_files_and_urls_keep_their_order(api: RunningApi, kafka: Topics) -> None:
    parts = [
        ("image", ("a.jpg", picture())),
        ("image_url", (None, "https://example.org/b.png")),
        ("image", ("c.png", picture("png"))),
        ("operation", (None, "detect-objects")),
    ]
    job = api.post("/v1/jobs", files=parts).json()
    inputs = submission(kafka, job["id"]).inputs
    assert [entry.key for entry in inputs] == [
        upload_key(job["id"], 0), None, upload_key(job["id"], 2),
    ]  # fmt: skip
    assert inputs[1].url == "https://example.org/b.png"
    assert [item["filename"] for item in job["items"]] == ["a.jpg", None, "c.png"]


def test_json_with_a_pipeline(api: RunningApi, kafka: Topics) -> None:
    answer = api.post(
        "/v1/jobs",
        json={
            "operations": ["remove-background", {"operation": "read-text"}],
            "inputs": [{"url": "https://example.org/a.png", "filename": "a.png"}],
            "priority": "low",
        },
    )
    assert answer.status_code == 202
    event = submission(kafka, answer.json()["id"])
    assert [step.operation for step in event.steps] == ["remove-background", "read-text"]
    assert event.priority == "low"


def test_an_unknown_job_is_a_404(api: RunningApi) -> None:
    for job_id in (str(uuid.uuid4()), "no", "x" * 100):
        answer = api.get(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_end_of_a_job_is_waited_for(api: RunningApi, kafka: Topics) -> None:
    job = api.post("/v1/jobs", json={"operation": "noop"}).json()
    with ThreadPoolExecutor() as pool:
        # Longer than the client waits: only the end of the job can bring the answers in time.
        waiting = [pool.submit(api.get, f"/v1/jobs/{job['id']}?wait=60") for _ in range(2)]
        wait_until(lambda: waiting_requests(api) == 2)
        kafka.end(submission(kafka, job["id"]))
        answers = [future.result() for future in waiting]
    for answer in answers:
        assert answer.json()["status"] == "succeeded"


def test_a_wait_that_ends_before_the_job_tells_how_far_it_is(api: RunningApi) -> None:
    job = api.post("/v1/jobs", json={"operation": "noop"}).json()
    begun = time.monotonic()
    answer = api.get(f"/v1/jobs/{job['id']}?wait=0.3")
    assert answer.json()["status"] == "queued"
    assert time.monotonic() - begun > 0.25
    assert api.get(f"/v1/jobs/{job['id']}?wait=-1").status_code == 422


def test_prefer_wait_answers_the_finished_job(api: RunningApi, kafka: Topics) -> None:
    job_id = str(uuid.uuid4())

    def finish() -> None:
        wait_until(lambda: [job for job in kafka.submissions() if job.job_id == job_id])
        kafka.end(submission(kafka, job_id))

    finisher = threading.Thread(target=finish)
    finisher.start()
    answer = api.put(
        f"/v1/jobs/{job_id}", json={"operation": "noop"}, headers={"Prefer": "wait=15"}
    )
    finisher.join()
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=15"


def test_prefer_wait_that_is_too_short_is_a_202(api: RunningApi) -> None:
    answer = api.post("/v1/jobs", json={"operation": "noop"}, headers={"Prefer": "wait=0"})
    assert answer.status_code == 202


def test_results_are_served_as_they_are(api: RunningApi, kafka: Topics) -> None:
    job = api.post(
        "/v1/jobs", data={"operation": "remove-background"}, files={"image": ("cup.jpg", picture())}
    ).json()
    path = f"/v1/jobs/{job['id']}/items/0/result"
    unfinished = api.get(path)
    assert (unfinished.status_code, unfinished.json()["code"]) == (409, "not_finished")

    cut_out = picture("png")
    key = f"results/{job['id']}/0.png"
    target = api.settings.home / "objects" / key
    target.parent.mkdir(parents=True)
    target.write_bytes(cut_out)
    result = {"key": key, "content_type": "image/png", "bytes": len(cut_out), "data": None}
    item = Item(index=0, status=JobStatus.SUCCEEDED, attempts=1, result=result)
    kafka.end(submission(kafka, job["id"]), items=(item,))
    wait_until(lambda: api.get(path).status_code == 200)
    answer = api.get(path)
    assert answer.content == cut_out
    assert answer.headers["Content-Type"] == "image/png"
    assert "cup.png" in answer.headers["Content-Disposition"]
    assert api.get(path, headers={"Range": "bytes=0-7"}).content == cut_out[:8]
    for index in ("1", "x", "9" * 5000):
        assert api.get(f"/v1/jobs/{job['id']}/items/{index}/result").status_code == 404


def test_a_file_is_downloaded_again_only_where_it_changed(api: RunningApi) -> None:
    """RFC 9110, 13 and 14, on a signed URL of the folder store, as browsers and curl ask."""
    photo = picture()
    job = api.post(
        "/v1/jobs", data={"operation": "remove-background"}, files={"image": ("cup.jpg", photo)}
    ).json()
    path = job["items"][0]["links"]["input"]
    whole = api.get(path)
    etag, modified = whole.headers["ETag"], whole.headers["Last-Modified"]
    for headers, status, body in (
        ({"If-None-Match": etag}, 304, b""),
        ({"If-Modified-Since": modified}, 304, b""),
        ({"If-None-Match": '"zz"'}, 200, photo),
        ({"If-Range": etag, "Range": "bytes=0-3"}, 206, photo[:4]),
        ({"If-Range": modified, "Range": "bytes=0-3"}, 206, photo[:4]),
        ({"If-Range": '"zz"', "Range": "bytes=0-3"}, 200, photo),
        ({"Range": "bytes=0-1,4-5"}, 200, photo),
        ({"Range": "bytes=-4"}, 206, photo[-4:]),
    ):
        answer = api.get(path, headers=headers)
        assert (answer.status_code, answer.content) == (status, body), headers
    assert api.get(path, headers={"If-Match": '"zz"'}).json()["code"] == "precondition_failed"
    past = api.get(path, headers={"Range": "bytes=9999999-"})
    assert (past.status_code, past.json()["code"]) == (416, "range_unsatisfiable")
    assert past.headers["Content-Range"] == f"bytes */{len(photo)}"
    head = api.session.head(api.url + path, headers={"Range": "bytes=0-3"}, timeout=20)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(photo)))


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", "caf\u00e9.jpg".encode()], ids=["latin", "utf-8"])
def test_a_file_name_in_any_charset_is_readable(api: RunningApi, name: bytes) -> None:
    parts = [
        b'name="operation"\r\n\r\nremove-background',
        b'name="image"; filename="' + name + b'"\r\n\r\n' + picture(),
    ]
    body = b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = api.post("/v1/jobs", data=body + b"--b--\r\n", headers=headers)
    assert (answer.status_code, answer.json()["items"][0]["filename"]) == (202, "caf\u00e9.jpg")
    given = api.get(answer.json()["items"][0]["links"]["input"])
    assert given.headers["Content-Disposition"] == "inline; filename*=UTF-8''caf%C3%A9.jpg"


def test_a_body_may_be_compressed(api: RunningApi) -> None:
    body = gzip.compress(b'{"operation": "noop", "metadata": {"order": 7}}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = api.post("/v1/jobs", data=body, headers=headers)
    assert (answer.status_code, answer.json()["metadata"]) == (202, {"order": 7})


def test_a_result_that_is_data_is_json(api: RunningApi, kafka: Topics) -> None:
    job = api.post("/v1/jobs", json={"operation": "noop"}).json()
    item = Item(index=0, status=JobStatus.SUCCEEDED, result={"key": None, "data": {"lines": []}})
    kafka.end(submission(kafka, job["id"]), items=(item,))
    answer = api.get(f"/v1/jobs/{job['id']}?wait=10")
    path = answer.json()["items"][0]["links"]["result"]
    assert api.get(path).json() == {"lines": []}


def test_lists_hold_what_was_just_submitted(api: RunningApi) -> None:
    ids = [api.post("/v1/jobs", json={"operation": "noop"}).json()["id"] for _ in range(5)]
    page = api.get("/v1/jobs?operation=noop&status=queued&limit=3").json()
    assert [job["id"] for job in page["jobs"]] == ids[:1:-1]
    following = api.get(f"/v1/jobs?operation=noop&limit=2&cursor={page['next_cursor']}").json()
    assert [job["id"] for job in following["jobs"]] == ids[1::-1]


@pytest.mark.parametrize(
    "query", ["status=done", "limit=0", "limit=x", "limit=101", "cursor=zz", "since=yesterday"]
)
def test_lists_refuse_what_they_do_not_know(api: RunningApi, query: str) -> None:
    answer = api.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["detail"]


def test_operations_are_listed_with_their_schemas(api: RunningApi) -> None:
    listed = {entry["name"]: entry for entry in api.get("/v1/operations").json()["operations"]}
    schema = listed["detect-objects"]["params"]
    assert schema["properties"]["confidence"]["maximum"] == 1.0
    assert schema["additionalProperties"] is False


def test_health(api: RunningApi) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    checks = {"broker": "ok", "store": "ok", "projection": "ok"}
    assert api.get("/readyz").json() == {"ready": True, "checks": checks}
    assert api.get("/health").json()["status"] == "healthy"


def test_paths_and_methods_that_are_not_there(api: RunningApi) -> None:
    answer = api.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = api.post("/v1/jobs/abcdefgh", json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["Allow"]


def test_a_projection_that_was_deleted_is_rebuilt(
    api: RunningApi, kafka: Topics, beside: Callable[[], RunningApi]
) -> None:
    job = api.post("/v1/jobs", json={"operation": "noop", "metadata": {"kept": True}}).json()
    kafka.end(submission(kafka, job["id"]))
    kafka.publish("jobs.normal", "x", b"this is no event", None)
    kafka.publish("jobs.state", "y", b"nor is this", None)
    ended = api.get(f"/v1/jobs/{job['id']}?wait=10").json()
    other = beside()
    assert other.get(f"/v1/jobs/{job['id']}").json() == ended
    expected = api.get("/v1/jobs?limit=100").json()
    assert other.get("/v1/jobs?limit=100").json() == expected


def test_two_apis_side_by_side(api: RunningApi, beside: Callable[[], RunningApi]) -> None:
    other = beside()
    for _ in range(20):
        job = api.post("/v1/jobs", json={"operation": "noop"}).json()
        assert other.get(f"/v1/jobs/{job['id']}").status_code == 200
        assert other.get("/v1/jobs?limit=1").status_code == 200


def test_a_full_queue_is_a_429(serve: Callable[..., tuple[RunningApi, Topics]]) -> None:
    api, kafka = serve(queue_limit=2)
    answer = wait_until(
        lambda: api.post("/v1/jobs", json={"operation": "noop"}),
        lambda got: got.status_code == 429,
    )
    assert answer.json()["code"] == "queue_full"
    assert int(answer.headers["Retry-After"]) > 0
    for job in kafka.submissions():
        kafka.end(job)
    wait_until(lambda: api.post("/v1/jobs", json={"operation": "noop"}).status_code == 202)


def test_without_a_broker_nothing_is_half_submitted(tmp_path: Any) -> None:
    settings = fresh_settings(
        "127.0.0.1:1", tmp_path, delivery_timeout_s=0.5, catch_up_timeout_s=0.5
    )
    api = RunningApi(settings).start(ready=False)
    try:
        answer = api.post(
            "/v1/jobs", data={"operation": "detect-objects"}, files={"image": ("a.jpg", picture())}
        )
        assert (answer.status_code, answer.json()["code"]) == (503, "broker_unavailable")
        assert answer.headers["Retry-After"]
        assert api.stored_files() == []
        assert api.get("/healthz").status_code == 200
        ready = api.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["broker"] != "ok"
        assert ready.json()["checks"]["store"] == "ok"
        assert api.get(f"/v1/jobs/{uuid.uuid4()}").status_code == 503
    finally:
        api.stop()


def test_metrics_count_requests_and_jobs(api: RunningApi) -> None:
    job = api.post("/v1/jobs", json={"operation": "noop", "priority": "low"}).json()
    api.get(f"/v1/jobs/{job['id']}")
    api.get("/v1/nothing")

    def scraped() -> dict[str, float]:
        answer = api.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    metrics = wait_until(
        scraped, lambda got: 'imagemill_jobs{priority="low",status="queued"}' in got
    )
    posted = 'imagemill_http_requests_total{method="POST",route="/v1/jobs",status="202"}'
    assert metrics[posted] >= 1
    read = 'imagemill_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"}'
    assert metrics[read] >= 1
    assert any('route="unmatched",status="404"' in name for name in metrics)
    assert metrics["imagemill_projection_ready"] == 1


def test_the_description_and_its_page(api: RunningApi) -> None:
    assert api.get("/openapi.json").json()["openapi"] == "3.1.0"
    page = api.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "http:" not in page.text and "https:" not in page.text
    assert api.get("/docs/viewer.js").status_code == 200
