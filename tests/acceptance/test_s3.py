"""The whole system on an S3 server that sometimes fails."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from imagemill.storage import result_key, upload_key
from imagemill.storage.urls import end_of
from tests.acceptance.conftest import StartSystem
from tests.acceptance.support.system import System
from tests.support.pictures import picture, png_header
from tests.support.s3 import Bucket, s3_bucket

PNG = picture("png", 50, 40)
GRAY = {"operation": "transform", "params": '{"steps": [{"do": "grayscale"}]}'}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A bucket that services reach through the proxy, and clients directly."""
    with s3_bucket() as made:
        yield made


def settings_of(bucket: Bucket) -> dict[str, str]:
    """The settings of services on that bucket, whose S3 client does not retry by itself."""
    return {
        "OBJECT_STORE_URL": f"s3://{bucket.name}/some/prefix",
        "S3_ENDPOINT_URL": bucket.flaky.url,
        "S3_PUBLIC_ENDPOINT_URL": bucket.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_REGION": "us-east-1",
        "IMAGEMILL_S3_ATTEMPTS": "1",
    }


@pytest.fixture(scope="module")
def on_s3(start_nimble: StartSystem, bucket: Bucket) -> Iterator[System]:
    """A system on that bucket."""
    with start_nimble(**settings_of(bucket)) as running:
        yield running


@pytest.fixture(autouse=True)
def recovered(bucket: Bucket) -> Iterator[None]:
    """Stop the failures after each test."""
    yield
    bucket.flaky.recover()


def submit(system: System, content: bytes = PNG, **fields: str) -> requests.Response:
    """Submit a form with one file."""
    files = {"image": ("photo.png", content, "image/png")}
    return system.post("/v1/jobs", files=files, data=GRAY | fields)


def finished(system: System, **fields: str) -> dict[str, Any]:
    """Run a job of one file; return it when it has ended."""
    answer = submit(system, **fields)
    assert answer.status_code == 202, answer.text
    return system.finished(answer.json()["id"])


def assert_gray(content: bytes) -> None:
    result = Image.open(io.BytesIO(content))
    assert (result.format, result.mode, result.size) == ("PNG", "L", (50, 40))


def test_a_result_is_read_by_redirect_and_by_its_url(on_s3: System, bucket: Bucket) -> None:
    job = finished(on_s3)
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    path = job["items"][0]["links"]["result"]
    answer = on_s3.get(path, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(bucket.url)
    fetched = on_s3.get(path)
    assert_gray(fetched.content)
    assert fetched.headers["Content-Type"] == "image/png"
    assert "photo.png" in fetched.headers["Content-Disposition"]
    assert requests.get(job["items"][0]["result"]["url"], timeout=30).content == fetched.content
    kept = [key for key in bucket.all_keys() if job["id"] in key]
    keys = (result_key(job["id"], 0, "png"), upload_key(job["id"], 0))
    assert kept == [f"some/prefix/{key}" for key in keys]


def test_a_file_may_be_uploaded_straight_to_s3(on_s3: System, bucket: Bucket) -> None:
    upload = on_s3.post("/v1/uploads", json={"content_type": "image/png"}).json()
    assert upload["url"].startswith(bucket.url)
    sent = requests.request(
        upload["method"], upload["url"], headers=upload["headers"], data=PNG, timeout=30
    )
    assert sent.status_code == 200, sent.text
    entry = {"upload_id": upload["upload_id"], "filename": "cup.png"}
    params = {"steps": [{"do": "grayscale"}]}
    job = on_s3.finished(on_s3.submitted(operation="transform", params=params, inputs=[entry]))
    assert job["status"] == "succeeded"
    assert job["items"][0]["filename"] == "cup.png"
    assert_gray(on_s3.get(job["items"][0]["links"]["result"]).content)


def test_an_uploaded_file_is_checked_when_a_job_names_it(on_s3: System) -> None:
    upload = on_s3.post("/v1/uploads", json={"content_type": "image/png"}).json()
    body = {"operation": "transform", "params": {"steps": [{"do": "grayscale"}]}}
    named = body | {"inputs": [{"upload_id": upload["upload_id"]}]}
    early = on_s3.post("/v1/jobs", json=named)
    assert (early.status_code, early.json()["code"]) == (422, "not_found")
    sent = requests.put(upload["url"], data=b"no image", headers=upload["headers"], timeout=30)
    assert sent.status_code == 200
    refused = on_s3.post("/v1/jobs", json=named)
    assert (refused.status_code, refused.json()["code"]) == (415, "image_undecodable")
    unknown = on_s3.post("/v1/jobs", json=body | {"inputs": [{"upload_id": str(uuid.uuid4())}]})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "not_found")


@pytest.mark.parametrize(
    ("content", "fields", "status"),
    [
        (b"no image", {}, 415),
        (PNG[:-20], {}, 422),
        (b"", {}, 422),
        (png_header(10_000, 6_000), {}, 413),
        (PNG + bytes(26 * 1024 * 1024), {}, 413),
        (PNG, {"operation": "fly"}, 422),
        (PNG, {"params": "{"}, 422),
        (PNG, {"params": '{"speed": 3}'}, 422),
        (PNG, {"unheard": "of"}, 422),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else str(value),
)
def test_a_rejected_request_leaves_nothing(
    on_s3: System, bucket: Bucket, content: bytes, fields: dict[str, str], status: int
) -> None:
    before = bucket.all_keys()
    assert submit(on_s3, content, **fields).status_code == status
    assert bucket.all_keys() == before
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    assert not uploads.get("Uploads"), "an unfinished upload is left"


def test_a_store_that_fails_at_the_upload_leaves_nothing(on_s3: System, bucket: Bucket) -> None:
    before = bucket.all_keys()
    bucket.flaky.fail("PUT", "/uploads/", 1)
    answer = submit(on_s3)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert bucket.flaky.failed == 1
    assert bucket.all_keys() == before


@pytest.mark.parametrize(("method", "part"), [("GET", "/uploads/"), ("PUT", "/results/")])
def test_a_store_that_fails_for_a_moment_is_tried_again(
    on_s3: System, bucket: Bucket, method: str, part: str
) -> None:
    bucket.flaky.fail(method, part, 2)
    job = finished(on_s3)
    assert (job["status"], job["attempts"]) == ("succeeded", 3)
    assert job["items"][0]["attempts"] == 3
    assert bucket.flaky.failed == 2
    assert_gray(on_s3.get(job["items"][0]["links"]["result"]).content)


def test_a_store_that_goes_on_failing_fails_the_job(on_s3: System, bucket: Bucket) -> None:
    bucket.flaky.fail("PUT", "/results/", 100)
    job = finished(on_s3)
    assert (job["status"], job["attempts"]) == ("failed", 3)
    assert job["error"]["code"] == "store_unavailable"
    assert job["error"]["class"] == "infrastructure"
    assert bucket.flaky.failed == 3
    assert not [key for key in bucket.all_keys() if f"results/{job['id']}" in key]


def test_a_role_s_end_does_not_end_the_urls_of_results(
    start_nimble: StartSystem, bucket: Bucket
) -> None:
    """The API has a public URL: it signs for the bucket when it is asked."""
    public = "https://images.example"
    role = {"AWS_SESSION_TOKEN": "of a role", "IMAGEMILL_PUBLIC_URL": public}
    with start_nimble(**settings_of(bucket), **role) as system:
        job = finished(system)
        assert job["status"] == "succeeded"
        url = job["items"][0]["result"]["url"]
        assert url.startswith(f"{public}/files/results/{job['id']}/0.png?")
        ends = end_of(url)
        assert ends is not None
        assert ends > time.time() + 6 * 24 * 3600

        answer = system.get(url.removeprefix(public), allow_redirects=False)

        assert answer.status_code == 302
        target = answer.headers["Location"]
        assert target.startswith(bucket.url)
        assert "X-Amz-Security-Token=of+a+role" in target.replace("%20", "+")
        fetched = requests.get(target, timeout=30)
        assert_gray(fetched.content)
        assert fetched.headers["Content-Type"] == "image/png"
