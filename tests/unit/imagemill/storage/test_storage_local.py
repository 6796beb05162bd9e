"""The folder store's own behaviour: its files, drafts, folders and signed URLs."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from imagemill.settings import StoreSettings
from imagemill.storage import (
    InvalidKey,
    LocalStore,
    ObjectNotFound,
    StoreUnavailable,
    UrlSigner,
    open_store,
)

SIGNER = UrlSigner("sixteen letters!")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects", "http://localhost:8080/", SIGNER)


def files(store: LocalStore) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_what_was_put_is_got_with_its_digest(store: LocalStore) -> None:
    data = os.urandom(100_000)
    stored = store.put("results/j/0.png", data, "image/png")

    assert stored == ("results/j/0.png", 100_000, hashlib.sha256(data).hexdigest())
    assert store.get("results/j/0.png") == data
    assert store.local_path("results/j/0.png").read_bytes() == data
    with store.open("results/j/0.png") as file:
        file.seek(99_990)
        assert file.read() == data[-10:]


def test_an_aborted_write_leaves_nothing(store: LocalStore) -> None:
    writer = store.writer("uploads/j/0")
    writer.write(b"x" * 1_000_000)
    writer.abort()
    writer.abort()
    assert files(store) == []
    with pytest.raises(ObjectNotFound):
        store.get("uploads/j/0")


def test_drafts_of_dead_writers_are_removed_and_those_of_live_ones_kept(store: LocalStore) -> None:
    dead, live = store.writer("uploads/a/0"), store.writer("uploads/b/0")
    dead.write(b"x" * 300_000)
    live.write(b"y")
    (old,) = [p for p in store.root.rglob("*") if p.is_file() and p.stat().st_size]
    os.utime(old, (time.time() - 7200,) * 2)

    LocalStore(store.root, "http://localhost", SIGNER)

    assert not old.exists()
    live.commit("image/png")
    assert files(store) == ["uploads/b/0"]
    dead.abort()


@pytest.mark.parametrize("key", ["results/j/0.png", "results", "results/j", "a/b", "a/0.png/c"])
def test_a_missing_object_is_told(store: LocalStore, key: str) -> None:
    store.put("a/0.png", b"", "image/png")
    store.put("results/j/1.png", b"", "image/png")
    for call in (store.get, store.open, store.stat, store.local_path):
        with pytest.raises(ObjectNotFound, match=key):
            call(key)


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", ".drafts/x", "a\x00"])
def test_no_call_takes_a_bad_key(store: LocalStore, key: str) -> None:
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
    assert files(store) == []


def test_a_key_cannot_be_a_folder_and_an_object(store: LocalStore) -> None:
    store.put("a/b", b"1", "image/png")
    for key in ("a", "a/b/c"):
        with pytest.raises(InvalidKey, match="beginning"):
            store.put(key, b"2", "image/png")
        with pytest.raises(InvalidKey, match="beginning"):
            store.writer(key).commit("image/png")
    assert files(store) == ["a/b"]


def test_deleting_takes_the_empty_folders_along(store: LocalStore) -> None:
    for key in ("uploads/a/0", "uploads/a/1", "uploads/b/0"):
        store.put(key, b"1", "image/png")
    store.delete("uploads/a/0", "uploads/a/9", "uploads/a")
    assert files(store) == ["uploads/a/1", "uploads/b/0"]
    store.delete("uploads/a/1")
    assert sorted(os.listdir(store.root / "uploads")) == ["b"]
    store.delete("uploads/b/0")
    assert not (store.root / "uploads").exists()
    store.check()


def test_an_image_of_common_size_is_no_file_before_its_commit(store: LocalStore) -> None:
    writer = store.writer("uploads/j/0")
    writer.write(b"x" * 100_000)
    with writer.file() as view:
        assert view.read() == b"x" * 100_000
    assert files(store) == []
    writer.commit("image/png")
    assert files(store) == ["uploads/j/0"]


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_an_object_of_any_size_in_pieces_of_any_size_is_whole(store: LocalStore, size: int) -> None:
    data = os.urandom(size)
    writer = store.writer("uploads/j/0")
    for start in range(0, size, 70_001):
        writer.write(data[start : start + 70_001])
        with writer.file() as view:
            assert view.read() == data[: start + 70_001]
    stored = writer.commit("image/png")
    assert stored == ("uploads/j/0", size, hashlib.sha256(data).hexdigest())
    assert store.get("uploads/j/0") == data
    assert files(store) == ["uploads/j/0"]


def test_writers_and_deletes_of_one_folder_do_not_disturb_each_other(store: LocalStore) -> None:
    # Deleting the last object of a folder removes the folder that a writer is about to use.
    failures: list[Exception] = []

    def churn(index: int) -> None:
        try:
            for _ in range(150):
                store.put(f"results/same/{index}.png", b"x", "image/png")
                store.delete(f"results/same/{index}.png")
        except Exception as error:  # noqa: BLE001 shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert files(store) == []


def test_a_url_is_ours_signed_and_expiring(store: LocalStore) -> None:
    url = urlsplit(store.url("results/j/0.png", 60, filename="cup.png"))
    assert f"{url.scheme}://{url.netloc}{url.path}" == "http://localhost:8080/files/results/j/0.png"
    request = SIGNER.verify("GET", "results/j/0.png", dict(parse_qsl(url.query)))
    assert request.filename == "cup.png"
    assert 50 < request.expires - time.time() <= 60


def test_an_upload_url_carries_its_content_type(store: LocalStore) -> None:
    target = store.upload_url("uploads/j/0", 60, "image/png")
    assert (target.method, target.headers) == ("PUT", {"Content-Type": "image/png"})
    query = dict(parse_qsl(urlsplit(target.url).query))
    assert SIGNER.verify("PUT", "uploads/j/0", query).content_type == "image/png"


def test_a_folder_that_vanished_is_told(store: LocalStore) -> None:
    store.root.rename(store.root.with_name("elsewhere"))
    with pytest.raises(StoreUnavailable, match="missing or cannot be written"):
        store.check()
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.put("results/j/0.png", b"x", "image/png")
    writer = store.writer("results/j/0.png")
    writer.write(b"x")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        writer.commit("image/png")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        store.writer("results/j/0.png").write(b"x" * 300_000)


def test_a_full_disk_is_told_and_leaves_nothing(store: LocalStore) -> None:
    resource = pytest.importorskip("resource")
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file size limit is the one way to make a real write fail half way without root.
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            store.put("results/j/0.png", b"x" * 100_000, "image/png")
        writer = store.writer("results/j/1.png")
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            writer.write(b"x" * 600_000)
        writer.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(store) == []


def test_objects_can_be_flushed_to_disk(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, "http://localhost", SIGNER, sync_to_disk=True)
    store.put("results/j/0.png", b"x", "image/png")
    assert store.get("results/j/0.png") == b"x"


def test_the_settings_choose_the_folder(tmp_path: Path) -> None:
    def root(**settings: object) -> Path:
        store = open_store(StoreSettings(_env_file=None, home=tmp_path / "home", **settings))
        assert isinstance(store, LocalStore)
        return store.root

    assert root() == tmp_path / "home" / "objects"
    assert root(upload_folder=tmp_path / "up") == tmp_path / "up"
    url = f"file:{tmp_path}/a%20b"
    assert root(upload_folder=tmp_path / "up", object_store_url=url) == tmp_path / "a b"
    assert root(object_store_url=f"file://{tmp_path}/c") == tmp_path / "c"
    assert (tmp_path / "home" / "signing.secret").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"object_store_url": "ftp://x"}, "must be file:"),
        ({"object_store_url": "file://otherhost/x"}, "must be file:"),
        ({"object_store_url": "file:"}, "must be file:"),
        ({"object_store_url": "s3:///x"}, "must name a bucket"),
        (
            {"r2_bucket_name": "b", "r2_endpoint_url": "http://r2"},
            "not R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY",
        ),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_store(StoreSettings(_env_file=None, home=tmp_path, **settings))
