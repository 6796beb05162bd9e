"""The five dialects' answers in every state of a job; the states are published by the tests."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
import requests

from schemas.errors import ErrorCode, JobError
from schemas.events import JobSubmitted
from schemas.jobs import Item, JobState, JobStatus
from schemas.times import now
from tests.support.api import RunningApi, Topics
from tests.support.messages import state_of
from tests.support.pictures import picture
from tests.support.waiting import wait_until

JPEG = ("cup.jpg", picture())
FAILED = JobError.of(ErrorCode.IMAGE_UNDECODABLE, "The picture is broken.")


class Jobs:
    """Submits through a dialect and plays the track agent."""

    def __init__(self, api: RunningApi, kafka: Topics) -> None:
        self.api = api
        self.kafka = kafka

    def submission(self, job_id: str) -> JobSubmitted:
        (job,) = (job for job in self.kafka.submissions() if job.job_id == job_id)
        return job

    def run(self, job_id: str) -> None:
        job = self.submission(job_id)
        outcomes = "r" + "." * (job.total - 1)
        self._publish(state_of(job, 1, "running", outcomes, started_at=now()))

    def succeed(self, job_id: str, *results: dict[str, Any] | None) -> None:
        """Each item with its result, or failed where that is None."""
        job = self.submission(job_id)
        items = tuple(
            Item(index=index, filename=job.inputs[index].filename, attempts=1, result=result,
                 status=JobStatus.SUCCEEDED if result else JobStatus.FAILED,
                 error=None if result else FAILED)
            for index, result in enumerate(results)
        )  # fmt: skip
        outcomes = "".join("s" if result else "f" for result in results)
        self._publish(
            state_of(
                job, 9, "succeeded" if "s" in outcomes else "failed", outcomes, items=items,
                error=None if "s" in outcomes else FAILED, started_at=now(), finished_at=now(),
            )
        )  # fmt: skip

    def picture(self, job_id: str, index: int = 0, kind: str = "png") -> dict[str, Any]:
        """A stored result."""
        key = f"results/{job_id}/{index}.{kind}"
        path = self.api.settings.home / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("png" if kind == "png" else "jpeg"))
        return {"key": key, "content_type": f"image/{'png' if kind == 'png' else 'jpeg'}"}

    def _publish(self, state: JobState) -> None:
        self.kafka.publish_state(state)
        wait_until(
            lambda: self.api.get(f"/v1/jobs/{state.job_id}").json()["status"],
            lambda status: status == state.status,
        )


@pytest.fixture
def jobs(api: RunningApi, kafka: Topics) -> Jobs:
    return Jobs(api, kafka)


def error_of(answer: requests.Response, status: int, member: str) -> str:
    assert answer.status_code == status, answer.text
    sentence = answer.json()[member]
    assert isinstance(sentence, str) and sentence
    return sentence


class TestBackgroundRemoval:
    def submit(self, api: RunningApi, **fields: str) -> str:
        answer = api.post("/remove_background", files={"image": JPEG}, data=fields)
        assert answer.status_code == 200, answer.text
        assert list(answer.json()) == ["id"]
        return answer.json()["id"]

    def test_paid_users_go_first(self, api: RunningApi, jobs: Jobs) -> None:
        for value, priority in (("true", "high"), ("True", "high"), ("false", "low"), ("", "low")):
            job_id = self.submit(api, is_paid_user=value)
            assert jobs.submission(job_id).priority == priority
        assert jobs.submission(self.submit(api)).priority == "low"

    def test_a_url_and_a_webhook(self, api: RunningApi, jobs: Jobs) -> None:
        answer = api.post(
            "/remove_background",
            data={"image_url": "https://example.org/a.png", "webhook_url": "https://a.org/hook"},
        )
        job = jobs.submission(answer.json()["id"])
        assert job.inputs[0].url == "https://example.org/a.png"
        assert job.webhook is not None
        assert (job.webhook.url, job.webhook.style) == ("https://a.org/hook", "background_removal")

    @pytest.mark.parametrize(
        ("files", "data"),
        [
            ({}, {}),
            ({}, {"image_url": ""}),
            ({"image": JPEG}, {"image_url": "https://example.org/a.png"}),
            ({"image": ("a.jpg", b"no image")}, {}),
            ({}, {"image_url": "ftp://example.org/a.png"}),
        ],
    )
    def test_neither_both_or_bad(self, api: RunningApi, files: Any, data: Any) -> None:
        error_of(api.post("/remove_background", files=files, data=data), 400, "error")

    def test_results_of_several(self, api: RunningApi, jobs: Jobs) -> None:
        waiting, done, broken = (self.submit(api) for _ in range(3))
        jobs.succeed(done, jobs.picture(done))
        jobs.succeed(broken, None)
        unknown = str(uuid.uuid4())
        answer = api.get(f"/get_result?id={waiting}&id={done}&id={broken}&id={unknown}")
        assert answer.status_code == 200
        first, second, third, fourth = answer.json()
        assert first == {"id": waiting, "status": "processing"}
        assert set(second) == {"id", "status", "image_url"}
        assert (second["id"], second["status"]) == (done, "completed")
        url = second["image_url"].replace("http://localhost:0", api.url)
        assert requests.get(url, timeout=20).content == picture("png")
        assert third == {"id": broken, "status": "failed", "error": "The picture is broken."}
        assert (fourth["id"], fourth["status"]) == (unknown, "failed")
        assert fourth["error"]

    def test_no_ids(self, api: RunningApi) -> None:
        error_of(api.get("/get_result"), 400, "error")


class TestImageText:
    def submit(self, api: RunningApi) -> str:
        answer = api.post("/api/process", files={"image": JPEG}, data={"text": "a cup"})
        assert answer.status_code == 200
        assert set(answer.json()) == {"job_id", "status"}
        assert answer.json()["status"] == "processing"
        return answer.json()["job_id"]

    def status(self, api: RunningApi, job_id: str) -> dict[str, Any]:
        answer = api.get(f"/api/status/{job_id}")
        assert answer.status_code == 200
        assert set(answer.json()) == {"status", "message", "result"}
        assert answer.json()["message"]
        return answer.json()

    def test_from_pending_to_completed(self, api: RunningApi, jobs: Jobs) -> None:
        job_id = self.submit(api)
        assert jobs.submission(job_id).params == {"text": "a cup"}
        assert self.status(api, job_id)["status"] == "pending"
        jobs.run(job_id)
        assert self.status(api, job_id)["status"] == "processing"
        data = {"message": "The picture shows a cup.", "found": []}
        jobs.succeed(job_id, {"data": data})
        assert self.status(api, job_id) == {
            "status": "completed", "message": "The picture shows a cup.", "result": data,
        }  # fmt: skip

    def test_a_failure_says_why(self, api: RunningApi, jobs: Jobs) -> None:
        job_id = self.submit(api)
        jobs.succeed(job_id, None)
        assert self.status(api, job_id)["status"] == "failed"
        assert self.status(api, job_id)["message"] == "The picture is broken."

    @pytest.mark.parametrize(
        ("files", "data"),
        [
            ({}, {"text": "a cup"}),
            ({"image": JPEG}, {}),
            ({"image": JPEG}, {"text": "  "}),
            ({"image": JPEG}, {"text": "x" * 20_000}),
        ],
    )
    def test_something_is_missing(self, api: RunningApi, files: Any, data: Any) -> None:
        error_of(api.post("/api/process", files=files, data=data), 400, "error")

    def test_an_unknown_job(self, api: RunningApi) -> None:
        error_of(api.get(f"/api/status/{uuid.uuid4()}"), 404, "error")
        error_of(api.get("/api/status/no"), 404, "error")


class TestInference:
    def submit(self, api: RunningApi, query: str = "") -> str:
        answer = api.post("/predict" + query, files={"image": JPEG})
        assert answer.status_code == 200
        assert list(answer.json()) == ["task_id"]
        return answer.json()["task_id"]

    def test_from_pending_to_success(self, api: RunningApi, jobs: Jobs) -> None:
        task_id = self.submit(api)
        assert api.get(f"/result/{task_id}").json()["status"] == "PENDING"
        jobs.run(task_id)
        assert api.get(f"/result/{task_id}").json()["status"] == "PENDING"
        box = {"x": 1, "y": 2, "width": 3, "height": 4}
        found = {"class": "cup", "class_id": 41, "confidence": 0.9, "box": box}
        jobs.succeed(task_id, {"data": {"image": {}, "predictions": [found]}})
        assert api.get(f"/result/{task_id}").json() == {
            "status": "SUCCESS",
            "result": [{"class": "cup", "confidence": 0.9, "box": box}],
        }

    def test_a_failure_is_a_message(self, api: RunningApi, jobs: Jobs) -> None:
        task_id = self.submit(api)
        jobs.succeed(task_id, None)
        answer = api.get(f"/result/{task_id}").json()
        assert answer == {"status": "FAILURE", "result": "The picture is broken."}

    def test_the_model_of_the_query(self, api: RunningApi, jobs: Jobs) -> None:
        assert jobs.submission(self.submit(api, "?model=yolov5n")).params == {"model": "yolov5n"}
        assert jobs.submission(self.submit(api)).params == {}

    @pytest.mark.parametrize(
        "image",
        [
            None,
            ("a.gif", picture("gif")),
            ("a.webp", picture("webp")),
            ("a.txt", b"text"),
            ("a.jfif", picture()),
            ("a.jpg", b""),
        ],
    )
    def test_other_file_types(self, api: RunningApi, image: Any) -> None:
        answer = api.post("/predict", files={"image": image} if image else {"other": JPEG})
        error_of(answer, 400, "error")

    def test_an_unknown_task(self, api: RunningApi) -> None:
        error_of(api.get(f"/result/{uuid.uuid4()}"), 404, "error")


class TestImageProcessing:
    def submit(self, api: RunningApi, operation: str = "grayscale", end: str = "/") -> str:
        answer = api.post(
            f"/process-image{end}", files={"file": JPEG}, data={"operation": operation}
        )
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"task_id", "message"}
        assert answer.json()["message"] == "Image processing started"
        return answer.json()["task_id"]

    @pytest.mark.parametrize("end", ["", "/"])
    def test_from_pending_to_the_image(self, api: RunningApi, jobs: Jobs, end: str) -> None:
        task_id = self.submit(api, end=end)
        pending = {"task_id": task_id, "status": "PENDING"}
        assert api.get(f"/task-status/{task_id}{end}").json() == pending
        early = api.get(f"/task-result/{task_id}{end}")
        assert early.status_code == 409
        assert (early.json()["task_id"], early.json()["status"]) == (task_id, "PENDING")
        jobs.run(task_id)
        assert api.get(f"/task-status/{task_id}{end}").json()["status"] == "STARTED"
        jobs.succeed(task_id, jobs.picture(task_id, kind="jpg"))
        status = api.get(f"/task-status/{task_id}{end}").json()
        assert set(status) == {"task_id", "status", "result"}
        assert status["status"] == "SUCCESS"
        assert re.fullmatch(r"processed/.*cup\.jpg", status["result"])
        result = api.get(f"/task-result/{task_id}{end}").json()
        assert result == {"task_id": task_id, "processed_image": status["result"]}
        assert api.get("/" + result["processed_image"]).content == picture()
        image = api.get(f"/task-result/{task_id}{end}", headers={"Accept": "image/*"})
        assert (image.content, image.headers["Content-Type"]) == (picture(), "image/jpeg")

    def test_the_operations(self, api: RunningApi, jobs: Jobs) -> None:
        gray, small = self.submit(api, "grayscale"), self.submit(api, "resize")
        assert jobs.submission(gray).params == {"steps": [{"do": "grayscale"}]}
        (step,) = jobs.submission(small).params["steps"]
        assert (step["do"], step["width"], step["height"]) == ("resize", 100, 100)

    def test_a_failure(self, api: RunningApi, jobs: Jobs) -> None:
        task_id = self.submit(api)
        jobs.succeed(task_id, None)
        status = api.get(f"/task-status/{task_id}").json()
        assert (status["status"], status["result"]) == ("FAILURE", "The picture is broken.")
        answer = api.get(f"/task-result/{task_id}")
        assert answer.json()["status"] == "FAILURE"
        assert error_of(answer, 409, "detail") == "The picture is broken."

    def test_what_is_refused(self, api: RunningApi) -> None:
        unknown = api.post("/process-image/", files={"file": JPEG}, data={"operation": "blur"})
        assert "grayscale" in error_of(unknown, 400, "detail")
        gif = {"file": ("a.gif", picture("gif"))}
        answer = api.post("/process-image/", files=gif, data={"operation": "resize"})
        error_of(answer, 400, "detail")
        answer = api.post("/process-image/", data={"operation": "resize"})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "file"]

    def test_an_unknown_task(self, api: RunningApi) -> None:
        for path in ("/task-status/", "/task-result/"):
            error_of(api.get(path + str(uuid.uuid4())), 404, "detail")


class TestRembgQueue:
    def submit(self, api: RunningApi, count: int = 2, query: str = "?model=u2net") -> str:
        files = [("images", (f"image{number}.jpg", picture())) for number in range(1, count + 1)]
        answer = api.post("/queue/submit" + query, files=files)
        assert answer.status_code == 200, answer.text
        job_id = answer.json()["job_id"]
        assert answer.json() == {
            "job_id": job_id,
            "status": "queued",
            "job_type": "batch" if count > 1 else "single",
            "files_count": count,
            "model": "u2net",
            "message": f"Job queued successfully. Check status with /queue/job/{job_id}",
        }
        return job_id

    def job(self, api: RunningApi, job_id: str) -> dict[str, Any]:
        answer = api.get(f"/queue/job/{job_id}")
        assert answer.status_code == 200
        assert list(answer.json()) == [
            "id", "status", "type", "created_at", "started_at", "completed_at", "progress",
            "model", "filenames", "results", "error",
        ]  # fmt: skip
        return answer.json()

    def test_from_pending_to_completed(self, api: RunningApi, jobs: Jobs) -> None:
        job_id = self.submit(api)
        view = self.job(api, job_id)
        assert view["status"] == "pending"
        assert view["type"] == "batch"
        assert view["progress"] == {"total": 2, "processed": 0, "failed": 0}
        assert view["filenames"] == ["image1.jpg", "image2.jpg"]
        assert (view["results"], view["started_at"], view["completed_at"]) == (None, None, None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", view["created_at"])
        assert view["model"] == "u2net"
        jobs.run(job_id)
        assert self.job(api, job_id)["status"] == "processing"
        jobs.succeed(job_id, jobs.picture(job_id), None)
        view = self.job(api, job_id)
        assert (view["status"], view["error"]) == ("completed", None)
        assert view["progress"] == {"total": 2, "processed": 1, "failed": 1}
        assert view["completed_at"] and view["started_at"]
        first, second = view["results"]
        url = first["url"].replace("http://localhost:0", api.url)
        assert requests.get(url, timeout=20).content == picture("png")
        assert first["filename"] == "image1.jpg"
        assert second == {
            "filename": "image2.jpg", "status": "failed", "error": "The picture is broken.",
        }  # fmt: skip

    def test_a_job_whose_every_file_failed(self, api: RunningApi, jobs: Jobs) -> None:
        job_id = self.submit(api, 1, "")
        jobs.succeed(job_id, None)
        view = self.job(api, job_id)
        assert (view["status"], view["error"]) == ("failed", "The picture is broken.")

    def test_lists_by_status(self, api: RunningApi, jobs: Jobs) -> None:
        waiting, running = self.submit(api), self.submit(api)
        jobs.run(running)
        pending = api.get("/queue/jobs?status=pending&limit=1").json()
        assert (pending["total"], pending["jobs"]) == (1, [self.job(api, waiting)])
        processing = api.get("/queue/jobs?status=processing&limit=100").json()
        assert running in [job["id"] for job in processing["jobs"]]
        assert {job["status"] for job in processing["jobs"]} == {"processing"}
        assert len(api.get("/queue/jobs").json()["jobs"]) <= 20
        error_of(api.get("/queue/jobs?status=done"), 400, "detail")

    def test_statistics(self, api: RunningApi, jobs: Jobs, kafka: Topics) -> None:
        before = api.get("/queue/stats").json()["stats"]
        assert list(before) == [
            "pending", "processing", "completed", "failed", "cancelled", "total",
        ]  # fmt: skip
        job_id = self.submit(api)
        after = api.get("/queue/stats").json()["stats"]
        assert after == before | {"pending": before["pending"] + 1, "total": before["total"] + 1}
        jobs.succeed(job_id, None, None)
        assert api.get("/queue/stats").json()["stats"]["failed"] == before["failed"] + 1
        assert api.get("/queue/stats").json()["worker"]["status"] == "stopped"
        beat = b'{"at": "%s", "slots": 2, "busy": 1}' % now().encode()
        kafka.publish("workers.heartbeats", "w-1", beat, None)
        worker = wait_until(
            lambda: api.get("/queue/stats").json()["worker"], lambda got: got["max_concurrent"]
        )
        assert worker == {"status": "running", "active_jobs": 1, "max_concurrent": 2}

    def test_only_pending_jobs_are_cancelled(self, api: RunningApi, jobs: Jobs) -> None:
        running = self.submit(api)
        jobs.run(running)
        answer = api.post(f"/queue/job/{running}/cancel")
        assert error_of(answer, 400, "detail") == "Cannot cancel job with status: processing"
        error_of(api.post(f"/queue/job/{uuid.uuid4()}/cancel"), 404, "detail")

    @pytest.mark.parametrize(
        ("named", "used"),
        [
            ("u2net", "u2netp"),
            ("u2netp", "u2netp"),
            ("siluette", "silueta"),
            ("isnet-general", "isnet-general-use"),
            ("my-model", "my-model"),
        ],
    )
    def test_models(self, api: RunningApi, jobs: Jobs, named: str, used: str) -> None:
        answer = api.post(f"/queue/submit?model={named}", files={"images": JPEG})
        assert answer.json()["model"] == named
        job_id = answer.json()["job_id"]
        assert jobs.submission(job_id).params == {"model": used}
        assert self.job(api, job_id)["model"] == named

    def test_no_images(self, api: RunningApi) -> None:
        answer = api.post("/queue/submit", data={"x": "y"})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "images"]

    def test_an_unknown_job(self, api: RunningApi) -> None:
        error_of(api.get(f"/queue/job/{uuid.uuid4()}"), 404, "detail")

    def test_a_limit_that_is_none(self, api: RunningApi) -> None:
        error_of(api.get("/queue/jobs?limit=many"), 400, "detail")
