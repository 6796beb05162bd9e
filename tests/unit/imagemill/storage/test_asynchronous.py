"""A store on an asyncio loop: calls that wait for the network are made in a thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from imagemill.storage import LocalStore, ObjectNotFound, ObjectStat, UrlSigner
from imagemill.storage.asynchronous import AsyncStore

KEY = "results/a/0.png"


class Watched(LocalStore):
    """A folder that notes which threads ask it; `remote` is up to the test."""

    def __init__(self, root: Path, *, remote: bool) -> None:
        super().__init__(root, "http://127.0.0.1", UrlSigner("a secret of tests"))
        self.remote = remote
        self.threads: set[int] = set()

    def stat(self, key: str) -> ObjectStat:
        self.threads.add(threading.get_ident())
        return super().stat(key)


@pytest.mark.parametrize("remote", [True, False])
async def test_a_remote_store_is_asked_in_a_thread(tmp_path: Path, remote: bool) -> None:
    watched = Watched(tmp_path, remote=remote)
    store = AsyncStore(watched)
    assert store.serves_own_urls == remote
    watched.put(KEY, b"abc", "image/png")
    assert (await store.stat(KEY)).bytes == 3
    assert (watched.threads == {threading.get_ident()}) == (not remote)


async def test_it_does_what_the_store_does(tmp_path: Path) -> None:
    store = AsyncStore(Watched(tmp_path, remote=True))
    writer = store.writer(KEY)
    writer.write(b"abc")
    stored = await store.commit(writer, "image/png")
    assert (stored.key, stored.bytes) == (KEY, 3)
    with await store.open(KEY) as file:
        assert file.read() == b"abc"
    assert store.local_path(KEY) == tmp_path / KEY
    assert KEY in await store.url(KEY, 60)
    await store.check()
    await store.delete(KEY)
    with pytest.raises(ObjectNotFound):
        await store.stat(KEY)
