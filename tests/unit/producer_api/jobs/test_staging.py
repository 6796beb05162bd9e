"""Files of a request on their way into the store."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest

from imagemill.images.check import ImageLimits
from imagemill.storage import LocalStore, UrlSigner
from imagemill.storage.asynchronous import AsyncStore
from producer_api.jobs.staging import Staging, clean_filename
from tests.support.pictures import picture


@pytest.fixture
def store(tmp_path: Path) -> AsyncStore:
    return AsyncStore(
        LocalStore(tmp_path / "objects", "http://127.0.0.1", UrlSigner("a secret of tests"))
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cup.png", "cup.png"), ("../../etc/passwd", "passwd"), ("C:\\photos\\cup.png", "cup.png"),
        ("a\x00b\n.png", "ab.png"), ("", None), (None, None), ("/", None),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
    ],
)  # fmt: skip
def test_file_names_are_names_only(given: str | None, kept: str | None) -> None:
    assert clean_filename(given) == kept


def open_files_in(folder: Path) -> list[Path]:
    """Return the files below a folder that this process holds open."""
    opened = []
    for number in os.listdir("/dev/fd"):
        with suppress(FileNotFoundError):  # the descriptor that listed the others
            opened.append(Path(os.readlink(f"/dev/fd/{number}")))
    return [path for path in opened if path.is_relative_to(folder)]


@pytest.mark.parametrize(("memory", "in_memory"), [(100_000, 4), (0, 0), (None, 12)])
async def test_images_above_a_requests_memory_wait_on_disk(
    store: AsyncStore, tmp_path: Path, memory: int | None, in_memory: int
) -> None:
    image = picture() + bytes(24_000)
    async with Staging(store, "uploads/job-00001.", ImageLimits(), memory) as staging:
        for index in range(12):
            incoming = staging.begin(index, "a.jpg")
            for start in range(0, len(image), 7000):
                incoming.write(image[start : start + 7000])
            incoming.end()
        held = [image.writer.held for image in staging.images]
        assert held == [len(image)] * in_memory + [0] * (12 - in_memory)
        assert open_files_in(tmp_path) == []
        digest = hashlib.sha256(image).hexdigest()
        assert {staged.writer.digest() for staged in staging.images} == {digest}
        for stored in await staging.commit():
            assert store.blocking.get(stored.key) == image
            assert stored.sha256 == digest
        staging.keep()
