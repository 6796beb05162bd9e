"""Clients of the five original services, as their documents print them, on the running system."""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.acceptance.support.documents import Document, curl, javascript, on_port, python
from tests.acceptance.support.system import System
from tests.support.waiting import wait_until

PRINTED_ID = "550e8400-e29b-41d4-a716-446655440000"


def part(path: Path) -> tuple[str, bytes]:
    """A file as `requests` sends it."""
    return path.name, path.read_bytes()


def image_of(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def assert_cut_out(content: bytes, original: Path) -> None:
    """RGBA of the original's size, something opaque, the corners clear."""
    picture = image_of(content)
    assert picture.mode == "RGBA"
    assert picture.size == image_of(original.read_bytes()).size
    alpha = np.asarray(picture)[..., 3]
    assert alpha.max() == 255
    assert alpha[:8, :8].mean() < 64


@contextmanager
def photo_server(photo: bytes) -> Iterator[str]:
    """Serves one photo over HTTP; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(photo)))
            self.end_headers()
            self.wfile.write(photo)

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}/photo.jpg"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """An HTTP server on a port of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Received:
    """What a webhook endpoint got."""

    url: str = ""
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def webhook_receiver() -> Iterator[Received]:
    """A webhook endpoint that keeps what it gets."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            received.headers.append(dict(self.headers.items()))
            received.bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with serving(Handler) as port:
        received.url = f"http://127.0.0.1:{port}/hook"
        yield received


@pytest.fixture(scope="module")
def queue_document(documents: dict[str, Document]) -> Document:
    return documents["rembg_queue"]


class TestRembgQueue:
    def test_the_curl_examples(
        self, system: System, queue_document: Document, workplace: Path
    ) -> None:
        submitted = curl(
            on_port(queue_document.example("bash", "curl", "/queue/submit"), system.port),
            workplace,
        )
        assert submitted["status"] == "queued"
        assert submitted["job_type"] == "batch"
        assert (submitted["files_count"], submitted["model"]) == (2, "u2net")
        job_id = submitted["job_id"]

        asking = queue_document.example("bash", f'/queue/job/{PRINTED_ID}"')
        job = wait_until(
            lambda: curl(on_port(asking, system.port, **{PRINTED_ID: job_id}), workplace),
            lambda job: job["status"] == "completed",
            timeout_s=120,
        )
        assert job["filenames"] == ["image1.jpg", "image2.jpg"]
        assert job["progress"] == {"total": 2, "processed": 2, "failed": 0}
        for entry, name in zip(job["results"], job["filenames"], strict=True):
            picture = requests.get(entry["url"], timeout=60)
            assert picture.headers["Content-Type"] == "image/png"
            assert_cut_out(picture.content, workplace / name)

        listing = curl(
            on_port(queue_document.example("bash", "/queue/jobs?status=processing"), system.port),
            workplace,
        )
        assert set(listing) == {"total", "jobs"}
        stats = curl(
            on_port(
                queue_document.example("bash", '"http://localhost:5000/queue/stats"'), system.port
            ),
            workplace,
        )
        assert stats["stats"]["completed"] >= 1
        assert stats["worker"]["status"] == "running"
        assert stats["worker"]["max_concurrent"] == 1

    def test_the_health_examples(
        self, system: System, queue_document: Document, workplace: Path
    ) -> None:
        for line in on_port(queue_document.example("bash", "/health"), system.port).splitlines():
            if line.startswith("curl"):
                assert curl(line, workplace)

    def test_the_cancel_example(
        self, system: System, queue_document: Document, workplace: Path
    ) -> None:
        submit = on_port(queue_document.example("bash", "curl", "/queue/submit"), system.port)
        jobs = [curl(submit, workplace)["job_id"] for _ in range(4)]
        cancel = queue_document.example("bash", f"/queue/job/{PRINTED_ID}/cancel")
        answer = curl(on_port(cancel, system.port, **{PRINTED_ID: jobs[-1]}), workplace)
        assert answer == {
            "job_id": jobs[-1], "status": "cancelled", "message": "Job cancelled successfully",
        }  # fmt: skip
        for job_id in jobs[:-1]:
            assert system.finished(job_id)["status"] == "succeeded"
        refused = curl(on_port(cancel, system.port, **{PRINTED_ID: jobs[0]}), workplace)
        assert refused == {"detail": "Cannot cancel job with status: completed"}
        assert system.finished(jobs[-1])["status"] == "cancelled"

    def test_the_python_example_that_submits_and_polls(
        self, system: System, queue_document: Document, workplace: Path
    ) -> None:
        code = queue_document.example("python", "import requests", "Job submitted")
        printed = python(on_port(code, system.port), workplace)
        assert "Job submitted: " in printed
        assert "Progress: 2/2" in printed
        assert "Final status: completed" in printed
        assert "Results: [" in printed

    def test_the_python_example_that_monitors(
        self, system: System, queue_document: Document, workplace: Path
    ) -> None:
        code = queue_document.example("python", "import requests", "Queue Statistics")
        printed = python(on_port(code, system.port), workplace)
        assert "  Total: " in printed
        assert "  Status: running" in printed
        assert "/1\n" in printed

    def test_the_javascript_example(
        self, system: System, queue_document: Document, workplace: Path
    ) -> None:
        page = """
        import { readFileSync } from "node:fs";
        const selectedFiles = ["image1.jpg", "image2.jpg"].map(
          (name) => new File([readFileSync(name)], name, { type: "image/jpeg" }));
        const updateProgressBar = (share) => console.log("share", share);
        const updateStatusText = (text) => console.log("text", text);
        """
        code = queue_document.example("javascript", "submitJob")
        printed = javascript(page + on_port(code, system.port), workplace)
        assert printed.strip().endswith("share 1\ntext completed")


class TestInference:
    def test_the_curl_examples(
        self, system: System, documents: dict[str, Document], workplace: Path
    ) -> None:
        document = documents["inference"]
        submit = document.example("bash", "curl", "/predict")
        path = str(workplace / "image1.jpg")
        printed = on_port(submit, system.port, **{"/path/to/your/image.jpg": path})
        task_id = curl(printed, workplace)["task_id"]
        asking = on_port(
            document.example("bash", "curl", "/result/"), system.port, **{"<task_id>": task_id}
        )
        answer = wait_until(
            lambda: curl(asking, workplace), lambda got: got["status"] != "PENDING", timeout_s=60
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
