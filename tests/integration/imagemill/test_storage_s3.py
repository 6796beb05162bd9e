"""The S3 store's own behaviour, on a real HTTP server that speaks S3 (moto's)."""

from __future__ import annotations

import hashlib
import os
import socket
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagemill.settings import StoreSettings
from imagemill.storage import ObjectNotFound, ObjectStore, StoreUnavailable, open_store

pytestmark = pytest.mark.longest

Opener = Callable[..., ObjectStore]


def test_a_bucket_has_no_files_and_is_remote(s3_store: ObjectStore) -> None:
    s3_store.put("results/j/0.png", b"x", "image/png")
    assert s3_store.local_path("results/j/0.png") is None
    assert s3_store.remote


@pytest.mark.parametrize(
    ("size", "memory", "held"),
    [(0, None, 0), (100, 0, 0), (100, 100, 100), (3_000_000, None, 0), (9_000_000, 10**9, 0)],
)
def test_nothing_shows_before_the_commit(
    s3_store: ObjectStore, size: int, memory: int | None, held: int
) -> None:
    data = os.urandom(size)
    writer = s3_store.writer("uploads/j/0", memory)
    for start in range(0, size, 65_536):
        writer.write(data[start : start + 65_536])
        writer.file().close()
    assert (writer.held, writer.digest()) == (held, hashlib.sha256(data).hexdigest())
    with writer.file() as view:
        assert view.read() == data
        view.seek(0)
    with pytest.raises(ObjectNotFound):
        s3_store.stat("uploads/j/0")

    stored = writer.commit("image/jpeg")

    assert stored == ("uploads/j/0", size, hashlib.sha256(data).hexdigest())
    assert s3_store.get("uploads/j/0") == data
    assert s3_store.stat("uploads/j/0").content_type == "image/jpeg"
    writer.abort()
    assert s3_store.get("uploads/j/0") == data


def test_an_aborted_write_leaves_nothing(
    s3_store: ObjectStore, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    writer = s3_store.writer("uploads/j/0")
    writer.write(b"x" * 2_000_000)
    assert len(os.listdir(tmp_path)) == 1
    writer.abort()
    writer.abort()
    assert os.listdir(tmp_path) == []
    assert list(s3_store.iter_keys()) == []


def test_more_keys_than_a_page_are_listed(s3_store: ObjectStore, monkeypatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    for index in range(12):
        s3_store.put(f"uploads/a/{index}", b"12", "image/png")
    s3_store.put("uploads/ab/0.png", b"", "image/png")

    listed = list(s3_store.iter_keys("uploads/a/"))

    assert {entry.key for entry in listed} == {f"uploads/a/{index}" for index in range(12)}
    assert listed[0].bytes == 2
    assert len(list(s3_store.iter_keys("uploads/a"))) == 13
    assert len(list(s3_store.iter_keys())) == 13


def test_a_presigned_url_answers_the_object_as_asked(s3_store: ObjectStore) -> None:
    s3_store.put("results/j/0.png", b"picture", "image/png")
    with urllib.request.urlopen(s3_store.url("results/j/0.png", 60), timeout=10) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"picture", "image/png")

    named = s3_store.url(
        "results/j/0.png", 60, filename='c"\u00fcp.png', content_type="image/x-odd"
    )
    with urllib.request.urlopen(named, timeout=10) as answer:
        assert (
            answer.headers["content-disposition"] == "attachment; filename*=UTF-8''c%22%C3%BCp.png"
        )
        assert answer.headers["content-type"] == "image/x-odd"


def test_an_upload_url_takes_the_object(s3_store: ObjectStore) -> None:
    target = s3_store.upload_url("uploads/j/0", 60, "image/webp")
    request = urllib.request.Request(
        target.url, data=b"picture", method=target.method, headers=target.headers
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    assert s3_store.get("uploads/j/0") == b"picture"
    assert s3_store.stat("uploads/j/0").content_type == "image/webp"


def test_urls_name_the_server_as_clients_reach_it(
    s3_server: str, bucket: str, open_s3: Opener
) -> None:
    store = open_s3(s3_server, f"s3://{bucket}", s3_public_endpoint_url="https://pictures.example")
    assert store.url("a/b", 60).startswith(f"https://pictures.example/{bucket}/a/b?")
    assert store.upload_url("a/b", 60, "image/png").url.startswith("https://pictures.example/")
    store.check()


def test_a_url_lives_seven_days_at_most(s3_server: str, bucket: str, open_s3: Opener) -> None:
    url = open_s3(s3_server, f"s3://{bucket}").url("a/b", 30 * 24 * 3600)
    assert "X-Amz-Expires=604800" in url


def test_a_missing_bucket_is_named(s3_server: str, open_s3: Opener) -> None:
    store = open_s3(s3_server, "s3://no-such-bucket")
    calls = [
        store.check,
        lambda: store.get("a"),
        lambda: store.put("a", b"", "image/png"),
        lambda: store.put("a", b"x" * 9_000_000, "image/png"),
        lambda: store.delete("a"),
        lambda: list(store.iter_keys()),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="there is no bucket no-such-bucket at"):
            call()


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_a_missing_bucket_is_created_in_its_region(
    s3_server: str, s3_admin: Any, open_s3: Opener, region: str
) -> None:
    name = f"bucket-{uuid.uuid4()}"
    store = open_s3(s3_server, f"s3://{name}", aws_region=region)
    assert store.prepare() == f"bucket {name}"
    assert store.prepare() is None
    location = s3_admin.get_bucket_location(Bucket=name)["LocationConstraint"]
    assert location == (None if region == "us-east-1" else region)


def test_a_server_that_is_away_is_named(open_s3: Opener) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = open_s3(f"http://127.0.0.1:{taken.getsockname()[1]}", "s3://bucket")
        writer = store.writer("a")
        for call in (
            store.check,
            lambda: store.get("a"),
            lambda: store.put("a", b"x" * 9_000_000, "image/png"),
            lambda: writer.commit("image/png"),
        ):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                call()


def test_a_server_that_hangs_is_given_up(open_s3: Opener) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = open_s3(
            f"http://127.0.0.1:{silent.getsockname()[1]}", "s3://bucket", s3_read_timeout_s=0.2
        )
        with pytest.raises(StoreUnavailable, match="ReadTimeout"):
            store.get("a")


def test_the_r2_names_choose_the_bucket(s3_server: str, bucket: str, open_s3: Opener) -> None:
    store = open_store(
        StoreSettings(
            _env_file=None,
            r2_endpoint_url=s3_server,
            r2_access_key_id="test",
            r2_secret_access_key="test-secret",
            r2_bucket_name=bucket,
        )
    )
    store.put("a/0.png", b"x", "image/png")
    assert [entry.key for entry in store.iter_keys()] == ["a/0.png"]
    assert open_s3(s3_server, f"s3://{bucket}").get("a/0.png") == b"x"
    assert store.url("a/0.png", 60).startswith(f"{s3_server}/{bucket}/a/0.png?")
    assert "%2Fauto%2Fs3%2F" in store.url("a/0.png", 60)
