"""A fetched model is the one the manifest means, or there is an error with every reason."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from processor.models.fetch.download import Patience
from processor.models.fetch.fetch import FetchError, fetch
from processor.models.manifest import ModelEntry, Source, UrlSource
from processor.models.store import ModelFile, ModelStore
from tests.unit.processor.models.fetch.model_server import serving

CONTENT = b"weights" * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=2, first_wait_s=0.001, longest_wait_s=0.001, timeout_s=5)


def entry_of(*sources: Source, digest: str = DIGEST) -> ModelEntry:
    return ModelEntry(name="m", task="t", sha256=(digest,), sources=sources)


def url(text: str) -> UrlSource:
    return UrlSource(kind="url", url=text)


def fetched(entry: ModelEntry, store: ModelStore) -> ModelFile:
    return fetch(entry, store, lambda done, total: None, lambda line: None, QUICK)


def test_the_file_lands_under_its_name_with_nothing_left_over(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        file = fetched(entry_of(url(server.url)), ModelStore(tmp_path))
    assert file == ModelFile(tmp_path / "m.onnx", DIGEST)
    assert file.path.read_bytes() == CONTENT
    assert not (tmp_path / "partial" / "m.part").exists()


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        entry = entry_of(url(server.url))
        fetched(entry, ModelStore(tmp_path))
        fetched(entry, ModelStore(tmp_path))
        assert len(server.requests) == 1


def test_the_local_folder_comes_first(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "m.onnx").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        file = fetched(entry_of(url(server.url)), ModelStore(tmp_path / "home", local))
        assert server.requests == []
    assert file.path == local / "m.onnx"


def test_a_wrong_file_in_the_local_folder_is_passed_over(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (local / "m.onnx").write_bytes(b"something else")
    with serving(CONTENT) as server:
        file = fetched(entry_of(url(server.url)), ModelStore(tmp_path / "home", local))
    assert file.path == tmp_path / "home" / "m.onnx"
    assert (local / "m.onnx").read_bytes() == b"something else"


def test_a_corrupt_file_at_home_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"half a file")
    with serving(CONTENT) as server:
        file = fetched(entry_of(url(server.url)), ModelStore(tmp_path))
    assert file.path.read_bytes() == CONTENT


def test_a_wrong_sum_is_refused_and_never_visible(tmp_path: Path) -> None:
    with (
        serving(b"malware") as server,
        pytest.raises(FetchError, match=rf"gave sha256 [0-9a-f]{{64}}, not {DIGEST}"),
    ):
        fetched(entry_of(url(server.url)), ModelStore(tmp_path))
    assert not (tmp_path / "m.onnx").exists()
    assert not (tmp_path / "partial" / "m.part").exists()


def test_a_stale_part_is_dropped_and_the_file_fetched_from_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.partial("m").parent.mkdir()
    store.partial("m").write_bytes(b"of an older release")
    with serving(CONTENT) as server:
        file = fetched(entry_of(url(server.url)), store)
        assert server.requests == ["bytes=19-", None]
    assert file.path.read_bytes() == CONTENT


def test_the_next_source_is_taken_when_one_fails(tmp_path: Path) -> None:
    with serving(CONTENT) as server, serving(b"wrong") as wrong:
        gone = url(server.url.replace("model.onnx", "gone"))
        server.statuses = [404]
        file = fetched(entry_of(gone, url(wrong.url), url(server.url)), ModelStore(tmp_path))
    assert file.sha256 == DIGEST


def test_when_all_fail_every_reason_is_told(tmp_path: Path) -> None:
    with serving(b"wrong") as wrong, serving(CONTENT) as gone:
        gone.statuses = [410]
        with pytest.raises(FetchError) as caught:
            fetched(entry_of(url(wrong.url), url(gone.url)), ModelStore(tmp_path))
    assert f"{wrong.url} gave sha256" in str(caught.value)
    assert f"{gone.url}: HTTP 410" in str(caught.value)


def test_a_model_without_sources_says_where_to_put_its_file(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"models add FILE --name m .*put m\.onnx into"):
        fetched(entry_of(), ModelStore(tmp_path))


def test_two_fetches_at_once_download_once(tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        entry = entry_of(url(server.url))
        found: list[ModelFile] = []
        threads = [
            threading.Thread(target=lambda: found.append(fetched(entry, ModelStore(tmp_path))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [file.sha256 for file in found] == [DIGEST] * 4
        assert len(server.requests) == 1
