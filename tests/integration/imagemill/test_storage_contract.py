"""The contract of ObjectStore, kept by the folder, by S3 and by Azure alike."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from imagemill.storage import InvalidKey, ObjectNotFound, ObjectStore

pytestmark = pytest.mark.longest


@pytest.fixture(params=["folder_store", "s3_store", "azure_store"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    return request.getfixturevalue(request.param)


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(entry.key for entry in store.iter_keys(prefix))


@pytest.mark.parametrize("size", [0, 1, 100_000, 9_000_000])
def test_what_was_put_is_got_with_its_digest(store: ObjectStore, size: int) -> None:
    data = os.urandom(size)
    stored = store.put("results/j/0.png", data, "image/png")

    assert stored == ("results/j/0.png", size, hashlib.sha256(data).hexdigest())
    assert store.get("results/j/0.png") == data
    with store.open("results/j/0.png") as file:
        assert file.read() == data
        file.seek(max(0, size - 10))
        assert file.read() == data[-10:]
        file.seek(0)
        assert file.read(5) == data[:5]
    facts = store.stat("results/j/0.png")
    assert facts[:3] == ("results/j/0.png", size, "image/png")
    assert abs(facts.modified.timestamp() - time.time()) < 60


def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    store.put("results/j/0.png", b"old and longer", "image/png")
    store.put("results/j/0.png", b"new", "image/png")
    assert store.get("results/j/0.png") == b"new"
    assert [entry.bytes for entry in store.iter_keys()] == [3]


@pytest.mark.parametrize(
    ("key", "content_type"),
    [("results/j/0.png", "image/png"), ("uploads/j/0", "image/jpeg"), ("a.png", "text/x-odd")],
)
def test_the_content_type_is_kept(
    store: ObjectStore, tmp_path, key: str, content_type: str
) -> None:
    if not store.remote:
        try:
            os.setxattr(tmp_path, "user.test", b"1")
        except OSError:
            # Where files have no attributes, the type is guessed from the ending.
            content_type = {"uploads/j/0": "application/octet-stream"}.get(key, "image/png")
    store.put(key, b"data", content_type)
    assert store.stat(key)[:3] == (key, 4, content_type)


def test_nothing_shows_before_the_commit(store: ObjectStore) -> None:
    store.put("uploads/j/0", b"old", "image/png")
    writer = store.writer("uploads/j/0")
    writer.write(b"new ")
    writer.write(b"bytes")
    with writer.file() as view:
        assert view.read() == b"new bytes"
        assert view.seek(4) == 4
    writer.write(b"!")
    assert store.get("uploads/j/0") == b"old"
    assert keys(store) == ["uploads/j/0"]

    stored = writer.commit("image/jpeg")

    assert stored == ("uploads/j/0", 10, hashlib.sha256(b"new bytes!").hexdigest())
    assert store.get("uploads/j/0") == b"new bytes!"
    writer.abort()
    assert store.get("uploads/j/0") == b"new bytes!"


@pytest.mark.parametrize("memory", [None, 0, 100, 10**9])
@pytest.mark.parametrize("size", [0, 100, 256 * 1024 + 1, 3_000_000, 9_000_000])
def test_an_object_in_pieces_is_whole(store: ObjectStore, size: int, memory: int | None) -> None:
    data = os.urandom(size)
    writer = store.writer("uploads/j/0", memory)
    for start in range(0, size, 500_001):
        writer.write(data[start : start + 500_001])
        with writer.file() as view:
            assert view.read() == data[: start + 500_001]
        assert memory is None or writer.held <= memory
    assert writer.digest() == hashlib.sha256(data).hexdigest()
    with pytest.raises(ObjectNotFound):
        store.stat("uploads/j/0")
    assert writer.commit("image/png") == ("uploads/j/0", size, hashlib.sha256(data).hexdigest())
    assert store.get("uploads/j/0") == data
    assert keys(store) == ["uploads/j/0"]


@pytest.mark.parametrize("size", [0, 100, 2_000_000])
def test_an_aborted_write_leaves_nothing(store: ObjectStore, size: int) -> None:
    writer = store.writer("uploads/j/0")
    writer.write(b"x" * size)
    writer.abort()
    writer.abort()
    assert keys(store) == []
    with pytest.raises(ObjectNotFound):
        store.get("uploads/j/0")


@pytest.mark.parametrize("key", ["results/j/0.png", "results", "results/j", "a/b"])
def test_a_missing_object_is_an_error_that_names_it(store: ObjectStore, key: str) -> None:
    store.put("results/j/1.png", b"", "image/png")
    for call in (store.get, store.open, store.stat):
        with pytest.raises(ObjectNotFound, match=key):
            call(key)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", ".drafts/x", "a\x00"])
def test_no_call_takes_a_bad_key(store: ObjectStore, key: str) -> None:
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
            call(key)
    assert keys(store) == []


def test_keys_are_listed_by_prefix(store: ObjectStore) -> None:
    for key in ("uploads/a/0", "uploads/ab/0", "uploads/b", "results/a/0.png"):
        store.put(key, b"123", "image/png")

    assert keys(store, "uploads/") == ["uploads/a/0", "uploads/ab/0", "uploads/b"]
    assert keys(store, "uploads/a") == ["uploads/a/0", "uploads/ab/0"]
    assert keys(store, "uploads/a/") == ["uploads/a/0"]
    assert keys(store, "up") == ["uploads/a/0", "uploads/ab/0", "uploads/b"]
    assert keys(store, "uploads/b/") == []
    assert keys(store, "nothing/here") == []
    assert len(keys(store)) == 4
    (entry,) = store.iter_keys("results/")
    assert entry[:3] == ("results/a/0.png", 3, "image/png")


def test_those_that_exist_are_deleted(store: ObjectStore) -> None:
    for key in ("uploads/a/0", "uploads/b/0", "uploads/c/0"):
        store.put(key, b"", "image/png")
    missing = [f"uploads/never/{index}" for index in range(1500)]

    store.delete("uploads/a/0", *missing, "uploads/b/0")

    assert keys(store) == ["uploads/c/0"]
    store.delete()


def test_a_store_that_is_there_needs_nothing_and_passes_its_check(store: ObjectStore) -> None:
    assert store.prepare() is None
    store.check()


def test_an_upload_url_says_what_the_client_must_send(
    store: ObjectStore, request: pytest.FixtureRequest
) -> None:
    needed = {"Content-Type": "image/png"}
    if request.node.callspec.params["store"] == "azure_store":
        # Azure has blobs of three types.
        needed["x-ms-blob-type"] = "BlockBlob"
    target = store.upload_url("uploads/j/0", 60, "image/png")
    assert (target.method, target.headers) == ("PUT", needed)
    assert "/uploads/j/0?" in target.url


def test_an_upload_of_known_size_is_said_to_need_it(store: ObjectStore) -> None:
    target = store.upload_url("uploads/j/0", 60, "image/png", 1234)
    assert target.method == "PUT"
    assert target.headers["Content-Type"] == "image/png"
    assert "/uploads/j/0?" in target.url
