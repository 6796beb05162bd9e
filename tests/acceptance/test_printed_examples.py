"""The examples that the documents of the original services print, run on the running system."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.acceptance.support.documents import Document, curl, javascript, on_port, python
from tests.acceptance.support.pictures import assert_cut_out
from tests.acceptance.support.system import System
from tests.support.waiting import wait_until

PRINTED_ID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture(scope="module")
def documents(shared: Path) -> dict[str, Document]:
    """The original services' documents by name."""
    return {path.stem: Document(path.read_text()) for path in (shared / "reference").glob("*.md")}


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
