"""Templates: created at one API, used by jobs, visible and deleted at every API."""

from __future__ import annotations

import uuid
from typing import Any

from tests.acceptance.support.system import System
from tests.support.pictures import picture

RESIZE = {"steps": [{"do": "resize", "width": 20}]}


def created(system: System, **body: Any) -> str:
    """Create a template; return its name."""
    name = f"template-{uuid.uuid4().hex[:12]}"
    answer = system.post("/v1/templates", json={"name": name, **body})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/v1/templates/{name}"
    return name


def used(system: System, name: str, **fields: str) -> dict[str, Any]:
    """Run a job with a template; return it when it has ended."""
    files = {"image": ("photo.png", picture("png", 60, 30), "image/png")}
    answer = system.post("/v1/jobs", files=files, data={"template": name, **fields})
    assert answer.status_code == 202, answer.text
    return system.finished(answer.json()["id"])


def test_a_job_takes_operation_and_params_from_its_template(nimble: System) -> None:
    params = RESIZE | {"format": "webp"}
    name = created(nimble, operation="transform", params=params)
    job = used(nimble, name)
    assert (job["status"], job["template"]) == ("succeeded", name)
    assert (job["operation"], job["params"]) == ("transform", params)
    result = job["items"][0]["result"]
    assert (result["content_type"], result["width"]) == ("image/webp", 20)


def test_params_beside_a_template_override_it_one_by_one(nimble: System) -> None:
    name = created(nimble, operation="transform", params=RESIZE | {"format": "webp"})
    job = used(nimble, name, params='{"format": "jpeg"}')
    assert job["params"] == RESIZE | {"format": "jpeg"}
    result = job["items"][0]["result"]
    assert (result["content_type"], result["width"]) == ("image/jpeg", 20)
    assert nimble.get(f"/v1/templates/{name}").json()["params"]["format"] == "webp"


def test_a_deleted_template_serves_no_job(nimble: System) -> None:
    name = created(nimble, operation="transform", params=RESIZE)
    listed = nimble.get("/v1/templates").json()["templates"]
    assert name in [template["name"] for template in listed]
    job = used(nimble, name)
    assert nimble.delete(f"/v1/templates/{name}").status_code == 204
    assert nimble.get(f"/v1/templates/{name}").status_code == 404
    answer = nimble.post("/v1/jobs", json={"template": name, "inputs": []})
    assert answer.status_code == 422
    assert name in answer.json()["detail"]
    # Jobs made with it stay unchanged.
    assert nimble.job(job["id"]) == job


def test_a_template_that_no_job_could_use_is_refused(nimble: System) -> None:
    for body in (
        {"operation": "fly"},
        {"operation": "transform", "params": {"speed": 3}},
        {"operation": "transform", "unheard": "of"},
    ):
        name = f"template-{uuid.uuid4().hex[:12]}"
        assert nimble.post("/v1/templates", json={"name": name, **body}).status_code == 422
        assert nimble.get(f"/v1/templates/{name}").status_code == 404
