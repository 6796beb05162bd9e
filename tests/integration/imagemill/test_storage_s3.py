"""The S3 store against a real HTTP server that speaks S3 (moto's)."""

from __future__ import annotations

import hashlib
import os
import socket
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from imagemill.settings import StoreSettings
from imagemill.storage import InvalidKey, ObjectNotFound, ObjectStore, StoreUnavailable, open_store

pytestmark = pytest.mark.longest

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test-secret"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def admin(server: str) -> Any:
    return boto3.client("s3", endpoint_url=server, region_name="us-east-1", **KEYS)


@pytest.fixture
def bucket(admin: Any) -> str:
    name = f"bucket-{uuid.uuid4()}"
    admin.create_bucket(Bucket=name)
    return name


def opened(server: str, url: str, **settings: object) -> ObjectStore:
    values = KEYS | {"object_store_url": url, "s3_endpoint_url": server, "s3_attempts": 1}
    return open_store(StoreSettings(_env_file=None, **(values | settings)))


@pytest.fixture
def store(server: str, bucket: str) -> ObjectStore:
    return opened(server, f"s3://{bucket}/some/prefix")


@pytest.mark.parametrize("size", [0, 100_000, 9_000_000])
def test_what_was_put_is_got_with_its_digest(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    stored = store.put("results/j/0.png", data, "image/png")

    assert stored == ("results/j/0.png", size, hashlib.sha256(data).hexdigest())
    assert store.get("results/j/0.png") == data
    with store.open("results/j/0.png") as file:
        assert file.read() == data
        file.seek(0)
        assert file.read(5) == data[:5]
    facts = store.stat("results/j/0.png")
    assert facts[:3] == ("results/j/0.png", size, "image/png")
    assert abs(facts.modified.timestamp() - time.time()) < 60
    assert store.local_path("results/j/0.png") is None
    assert store.remote


@pytest.mark.parametrize(
    ("size", "memory", "held"),
    [(0, None, 0), (100, 0, 0), (100, 100, 100), (3_000_000, None, 0), (9_000_000, 10**9, 0)],
)
def test_nothing_shows_before_the_commit(
    store: ObjectStore, size: int, memory: int | None, held: int
) -> None:
    data = os.urandom(size)
    writer = store.writer("uploads/j/0", memory)
    for start in range(0, size, 65_536):
        writer.write(data[start : start + 65_536])
        writer.file().close()
    assert (writer.held, writer.digest()) == (held, hashlib.sha256(data).hexdigest())
    with writer.file() as view:
        assert view.read() == data
        view.seek(0)
    with pytest.raises(ObjectNotFound):
        store.stat("uploads/j/0")

    stored = writer.commit("image/jpeg")

    assert stored == ("uploads/j/0", size, hashlib.sha256(data).hexdigest())
    assert store.get("uploads/j/0") == data
    assert store.stat("uploads/j/0").content_type == "image/jpeg"
    writer.abort()
    assert store.get("uploads/j/0") == data


def test_an_aborted_write_leaves_nothing(store: ObjectStore, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    writer = store.writer("uploads/j/0")
    writer.write(b"x" * 2_000_000)
    assert len(os.listdir(tmp_path)) == 1
    writer.abort()
    writer.abort()
    assert os.listdir(tmp_path) == []
    assert list(store.iter_keys()) == []


def test_a_missing_object_is_told(store: ObjectStore) -> None:
    for call in (store.get, store.open, store.stat):
        with pytest.raises(ObjectNotFound, match=r"results/j/0\.png"):
            call("results/j/0.png")


def test_no_call_takes_a_bad_key(store: ObjectStore) -> None:
    calls = [
        store.get,
        store.open,
        store.stat,
        store.local_path,
        store.delete,
        store.writer,
        lambda bad: store.put(bad, b"", "image/png"),
        lambda bad: store.url(bad, 60),
        lambda bad: store.upload_url(bad, 60, "image/png"),
        lambda bad: list(store.iter_keys(bad)),
    ]
    for call in calls:
        with pytest.raises(InvalidKey):
            call("../x")


def test_more_keys_than_a_page_are_listed(store: ObjectStore, monkeypatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "5")
    for index in range(12):
        store.put(f"uploads/a/{index}", b"12", "image/png")
    store.put("uploads/ab/0.png", b"", "image/png")

    listed = list(store.iter_keys("uploads/a/"))

    assert {entry.key for entry in listed} == {f"uploads/a/{index}" for index in range(12)}
    assert listed[0].bytes == 2
    assert len(list(store.iter_keys("uploads/a"))) == 13
    assert len(list(store.iter_keys())) == 13


def test_more_keys_than_one_call_takes_are_deleted(store: ObjectStore) -> None:
    for key in ("uploads/a/0", "uploads/b/0", "uploads/c/0"):
        store.put(key, b"", "image/png")
    missing = [f"uploads/never/{index}" for index in range(1500)]

    store.delete("uploads/a/0", *missing, "uploads/b/0")

    assert [entry.key for entry in store.iter_keys()] == ["uploads/c/0"]
    store.delete()


def test_a_presigned_url_answers_the_object_as_asked(store: ObjectStore) -> None:
    store.put("results/j/0.png", b"picture", "image/png")
    with urllib.request.urlopen(store.url("results/j/0.png", 60), timeout=10) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"picture", "image/png")

    named = store.url("results/j/0.png", 60, filename='c"\u00fcp.png', content_type="image/x-odd")
    with urllib.request.urlopen(named, timeout=10) as answer:
        assert (
            answer.headers["content-disposition"] == "attachment; filename*=UTF-8''c%22%C3%BCp.png"
        )
        assert answer.headers["content-type"] == "image/x-odd"


def test_an_upload_url_takes_the_object(store: ObjectStore) -> None:
    target = store.upload_url("uploads/j/0", 60, "image/webp")
    request = urllib.request.Request(
        target.url, data=b"picture", method=target.method, headers=target.headers
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    assert store.get("uploads/j/0") == b"picture"
    assert store.stat("uploads/j/0").content_type == "image/webp"


def test_urls_name_the_server_as_clients_reach_it(server: str, bucket: str) -> None:
    store = opened(server, f"s3://{bucket}", s3_public_endpoint_url="https://pictures.example")
    assert store.url("a/b", 60).startswith(f"https://pictures.example/{bucket}/a/b?")
    assert store.upload_url("a/b", 60, "image/png").url.startswith("https://pictures.example/")
    store.check()


def test_a_url_lives_seven_days_at_most(server: str, bucket: str) -> None:
    url = opened(server, f"s3://{bucket}").url("a/b", 30 * 24 * 3600)
    assert "X-Amz-Expires=604800" in url


def test_a_missing_bucket_is_told(server: str) -> None:
    store = opened(server, "s3://no-such-bucket")
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
def test_a_missing_bucket_is_created_in_its_region(server: str, admin: Any, region: str) -> None:
    name = f"bucket-{uuid.uuid4()}"
    store = opened(server, f"s3://{name}", aws_region=region)
    assert store.create_bucket()
    assert not store.create_bucket()
    location = admin.get_bucket_location(Bucket=name)["LocationConstraint"]
    assert location == (None if region == "us-east-1" else region)


def test_a_server_that_is_away_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = opened(f"http://127.0.0.1:{taken.getsockname()[1]}", "s3://bucket")
        writer = store.writer("a")
        for call in (
            store.check,
            lambda: store.get("a"),
            lambda: store.put("a", b"x" * 9_000_000, "image/png"),
            lambda: writer.commit("image/png"),
        ):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                call()


def test_a_server_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = opened(
            f"http://127.0.0.1:{silent.getsockname()[1]}", "s3://bucket", s3_read_timeout_s=0.2
        )
        with pytest.raises(StoreUnavailable, match="ReadTimeout"):
            store.get("a")


def test_the_r2_names_choose_the_bucket(server: str, bucket: str) -> None:
    store = open_store(
        StoreSettings(
            _env_file=None,
            r2_endpoint_url=server,
            r2_access_key_id="test",
            r2_secret_access_key="test-secret",
            r2_bucket_name=bucket,
        )
    )
    store.put("a/0.png", b"x", "image/png")
    assert [entry.key for entry in store.iter_keys()] == ["a/0.png"]
    assert opened(server, f"s3://{bucket}").get("a/0.png") == b"x"
    assert store.url("a/0.png", 60).startswith(f"{server}/{bucket}/a/0.png?")
    assert "%2Fauto%2Fs3%2F" in store.url("a/0.png", 60)
