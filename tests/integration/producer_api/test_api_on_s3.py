"""The API on an S3 server: results by URLs of ours, uploads bound to their size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from imagemill.storage import open_object_urls, open_signer, open_store
from imagemill.storage.urls import end_of
from schemas.times import to_epoch
from tests.support.api import RunningApi, Topics
from tests.support.pictures import picture
from tests.support.s3 import Bucket, s3_bucket
from tests.support.waiting import DEADLINE_S

Serve = Callable[..., tuple[RunningApi, Topics]]

KEY = "results/job-00001/0.png"
# What the API says it is reached at; requests go to where the test runs it.
PUBLIC = "https://images.example"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_bucket() as made:
        yield made


@pytest.fixture
def on_s3(serve: Serve, bucket: Bucket) -> Callable[..., RunningApi]:
    """Start an API on a bucket."""

    def start(**settings: Any) -> RunningApi:
        api, _ = serve(
            object_store_url=f"s3://{bucket.name}/some/prefix",
            s3_endpoint_url=bucket.url,
            aws_access_key_id="test",
            aws_secret_access_key="test-secret",
            aws_region="us-east-1",
            **settings,
        )
        return api

    return start


def test_a_result_s_url_redirects_to_one_that_is_signed_when_asked(
    on_s3: Callable[..., RunningApi], bucket: Bucket
) -> None:
    api = on_s3(public_url=PUBLIC)
    store = open_store(api.settings)
    data = picture("png")
    store.put(KEY, data, "image/png")
    url = open_object_urls(api.settings, store).sign(KEY, "image/png")
    assert url.startswith(f"{PUBLIC}/files/{KEY}?")
    path = url.removeprefix(PUBLIC)

    answer = api.get(path, allow_redirects=False)

    assert (answer.status_code, answer.headers["Cache-Control"]) == (302, "no-store")
    target = answer.headers["Location"]
    assert target.startswith(f"{bucket.url}/{bucket.name}/some/prefix/{KEY}?")
    ends = end_of(target)
    assert ends is not None and 0 < ends - time.time() <= 300
    fetched = requests.get(target, timeout=DEADLINE_S)
    assert (fetched.content, fetched.headers["Content-Type"]) == (data, "image/png")

    head = api.session.head(api.url + path, timeout=DEADLINE_S)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(data)))
    assert head.headers["Content-Type"] == "image/png"


def test_no_url_of_ours_opens_another_object_or_lives_for_ever(
    on_s3: Callable[..., RunningApi],
) -> None:
    api = on_s3(public_url=PUBLIC)
    signed = open_signer(api.settings).path("GET", KEY, int(time.time()) - 1)
    assert api.get(f"/files/{signed}", allow_redirects=False).status_code == 410
    elsewhere = signed.replace("0.png", "1.png")
    assert api.get(f"/files/{elsewhere}", allow_redirects=False).status_code == 403
    never = open_signer(api.settings).path("GET", "results/never/0.png", int(time.time()) + 60)
    head = api.session.head(f"{api.url}/files/{never}", timeout=DEADLINE_S)
    assert head.status_code == 404


def upload(api: RunningApi, data: bytes, sent: bytes, **body: Any) -> requests.Response:
    """Announce an upload of `data`, send `sent` to its URL, and name it in a job."""
    asked = {"content_type": "image/png", "bytes": len(data)} | body
    target = api.post("/v1/uploads", json=asked).json()
    url = target["url"].replace(PUBLIC, api.url)
    headers = target["headers"] | {"Content-Length": str(len(sent))}
    requests.request(target["method"], url, data=sent, headers=headers, timeout=DEADLINE_S)
    inputs = [{"upload_id": target["upload_id"]}]
    return api.post("/v1/jobs", json={"operation": "detect-objects", "inputs": inputs})


def test_an_upload_is_what_was_announced(on_s3: Callable[..., RunningApi], bucket: Bucket) -> None:
    """moto verifies no signed header, so only the API can refuse these."""
    api = on_s3(public_url=PUBLIC, max_image_bytes=10_000)
    image = picture("png")
    small = api.post("/v1/uploads", json={"content_type": "image/png", "bytes": len(image)})
    target = small.json()
    assert target["url"].startswith(f"{bucket.url}/{bucket.name}/some/prefix/uploads/")
    assert target["max_bytes"] == len(image)
    ends = end_of(target["url"])
    assert ends is not None and to_epoch(target["expires_at"]) == ends

    assert upload(api, image, image).status_code == 202
    for sent in (image + b"more", image[:-1]):
        answer = upload(api, image, sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_size_differs")
    page = b"<script>".ljust(len(image))
    assert upload(api, page, page).status_code == 415
    large = api.post("/v1/uploads", json={"bytes": 10_001})
    assert (large.status_code, large.json()["code"]) == (413, "image_too_large")
    assert api.post("/v1/uploads", json={"bytes": 0}).status_code == 422


def test_an_upload_of_unknown_size_is_stopped_at_the_limit(
    on_s3: Callable[..., RunningApi], bucket: Bucket
) -> None:
    api = on_s3(public_url=PUBLIC, max_image_bytes=10_000)
    before = bucket.all_keys()
    target = api.post("/v1/uploads", json={"content_type": "image/png"}).json()
    assert target["url"].startswith(f"{PUBLIC}/files/uploads/")
    path = target["url"].removeprefix(PUBLIC)
    assert api.put(path, data=picture("png") + bytes(20_000)).status_code == 413
    assert bucket.all_keys() == before
    assert api.put(path, data=picture("png")).status_code == 204
    inputs = [{"upload_id": target["upload_id"]}]
    job = api.post("/v1/jobs", json={"operation": "detect-objects", "inputs": inputs})
    assert job.status_code == 202


def test_a_url_of_ours_takes_the_announced_size_alone(serve: Serve) -> None:
    api, _ = serve()
    image = picture("png")
    asked = {"content_type": "image/png", "bytes": len(image)}
    target = api.post("/v1/uploads", json=asked).json()
    path = target["url"].removeprefix("http://localhost:0")
    for sent in (image + b"more", image[:-1], b""):
        answer = api.put(path, data=sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_size_differs")
    assert api.stored_files() == []
    assert api.put(path.replace(f"bytes={len(image)}", "bytes=5"), data=image).status_code == 403
    assert api.put(path, data=image).status_code == 204
