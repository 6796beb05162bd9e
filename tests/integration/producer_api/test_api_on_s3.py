"""The API on an S3 server: results by URLs of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from imagemill.storage import open_result_urls, open_signer, open_store
from imagemill.storage.urls import end_of
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
    url = open_result_urls(api.settings, store).sign(KEY, "image/png")
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
