"""Clients of the five original services on the running system."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.acceptance.support.pictures import assert_cut_out, image_of
from tests.acceptance.support.system import System
from tests.support.servers import QuietHandler, http_server
from tests.support.waiting import wait_until


def part(path: Path) -> tuple[str, bytes]:
    """Name and content of a file, as `requests` takes them."""
    return path.name, path.read_bytes()


@contextmanager
def photo_server(photo: bytes) -> Iterator[str]:
    """Serve one photo over HTTP; yields its URL."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(photo)))
            self.end_headers()
            self.wfile.write(photo)

    with http_server(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}/photo.jpg"


@dataclass
class Received:
    """The requests that a webhook endpoint got."""

    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def webhook_receiver() -> Iterator[Received]:
    """Run a webhook endpoint that keeps every request."""
    received = Received()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            received.headers.append(dict(self.headers.items()))
            received.bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

    with http_server(Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}/hook"
        yield received


class TestRembgQueue:
    def test_a_batch_from_its_submit_to_its_pictures(self, system: System, workplace: Path) -> None:
        names = ["image1.jpg", "image2.jpg"]
        files = [("images", part(workplace / name)) for name in names]
        job_id = system.post("/queue/submit", files=files).json()["job_id"]
        job = wait_until(
            lambda: system.get(f"/queue/job/{job_id}").json(),
            lambda got: got["status"] not in ("pending", "processing"),
            timeout_s=120,
        )
        assert (job["status"], job["filenames"]) == ("completed", names)
        assert job["progress"] == {"total": 2, "processed": 2, "failed": 0}
        for entry, name in zip(job["results"], names, strict=True):
            assert_cut_out(requests.get(entry["url"], timeout=60).content, workplace / name)
        assert system.get("/queue/stats").json()["stats"]["completed"] >= 1


class TestInference:
    def test_a_photo_from_predict_to_its_objects(self, system: System, workplace: Path) -> None:
        files = {"image": part(workplace / "image1.jpg")}
        task_id = system.post("/predict", files=files).json()["task_id"]
        answer = wait_until(
            lambda: system.get(f"/result/{task_id}").json(),
            lambda got: got["status"] != "PENDING",
            timeout_s=60,
        )
        assert answer["status"] == "SUCCESS"
        best = max(answer["result"], key=lambda found: found["confidence"])
        assert best["class"] == "cup"
        assert best["confidence"] > 0.8
        assert set(best["box"]) == {"x", "y", "width", "height"}

    def test_a_missing_model_is_an_error_message(self, system: System, workplace: Path) -> None:
        files = {"image": part(workplace / "image1.jpg")}
        task_id = system.post("/predict?model=nobody-has-this", files=files).json()["task_id"]
        answer = wait_until(
            lambda: system.get(f"/result/{task_id}").json(),
            lambda got: got["status"] != "PENDING",
            timeout_s=60,
        )
        assert answer["status"] == "FAILURE"
        assert "nobody-has-this" in answer["result"]


class TestBackgroundRemoval:
    def test_an_image_with_a_webhook(self, system: System, workplace: Path) -> None:
        photo = workplace / "image1.jpg"
        with webhook_receiver() as receiver:
            answer = system.post(
                "/remove_background",
                files={"image": part(photo)},
                data={"webhook_url": receiver.url, "is_paid_user": "true"},
            )
            task_id = answer.json()["id"]
            (entry,) = wait_until(
                lambda: system.get("/get_result", params={"id": [task_id]}).json(),
                lambda got: got[0]["status"] != "processing",
                timeout_s=60,
            )
            wait_until(lambda: receiver.bodies, timeout_s=60)
        assert entry["status"] == "completed"
        assert_cut_out(requests.get(entry["image_url"], timeout=60).content, photo)
        assert receiver.bodies == [entry]
        assert {name.lower() for name in receiver.headers[0]} >= {
            "webhook-id", "webhook-signature", "webhook-timestamp",
        }  # fmt: skip

    def test_several_ids_at_once(self, system: System, workplace: Path) -> None:
        broken = workplace / "image2.jpg"
        ids = [
            system.post("/remove_background", files={"image": part(broken)}).json()["id"]
            for _ in range(2)
        ]
        unknown = str(uuid.uuid4())
        entries = wait_until(
            lambda: system.get("/get_result", params={"id": [*ids, unknown]}).json(),
            lambda got: all(entry["status"] != "processing" for entry in got),
            timeout_s=60,
        )
        assert [entry["id"] for entry in entries] == [*ids, unknown]
        assert [entry["status"] for entry in entries] == ["completed", "completed", "failed"]

    def test_an_image_by_its_url(self, system: System, workplace: Path) -> None:
        photo = (workplace / "image1.jpg").read_bytes()
        with photo_server(photo) as url:
            task_id = system.post("/remove_background", data={"image_url": url}).json()["id"]
            job = system.finished(task_id)
        assert job["status"] == "succeeded", job
        assert job["priority"] == "low"


class TestImageText:
    def test_a_picture_and_its_text(self, system: System, workplace: Path) -> None:
        answer = system.post(
            "/api/process",
            files={"image": part(workplace / "image1.jpg")},
            data={"text": "a cup of coffee"},
        )
        job_id = answer.json()["job_id"]
        assert answer.json()["status"] == "processing"
        status = wait_until(
            lambda: system.get(f"/api/status/{job_id}").json(),
            lambda got: got["status"] in ("completed", "failed"),
            timeout_s=90,
        )
        assert status["status"] == "completed", status
        assert status["message"].endswith(".")
        assert status["result"]["text"]["words"] == 4
        assert "cup" in [found["class"] for found in status["result"]["image"]["objects"]]


class TestImageProcessing:
    @pytest.mark.parametrize("operation", ["grayscale", "resize"])
    def test_from_the_form_to_the_image(
        self, system: System, workplace: Path, operation: str
    ) -> None:
        photo = workplace / "image1.jpg"
        answer = system.post(
            "/process-image/", files={"file": part(photo)}, data={"operation": operation}
        )
        assert answer.json()["message"] == "Image processing started"
        task_id = answer.json()["task_id"]
        status = wait_until(
            lambda: system.get(f"/task-status/{task_id}").json(),
            lambda got: got["status"] not in ("PENDING", "STARTED"),
            timeout_s=60,
        )
        assert status["status"] == "SUCCESS", status
        result = system.get(f"/task-result/{task_id}").json()
        assert result == {"task_id": task_id, "processed_image": status["result"]}
        assert result["processed_image"].endswith("image1.jpg")
        picture = image_of(system.get("/" + result["processed_image"]).content)
        if operation == "resize":
            assert picture.size == (100, 100)
        else:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
            assert np.abs(pixels[..., 0] - pixels[..., 2]).max() <= 2
            assert picture.size == image_of(photo.read_bytes()).size
