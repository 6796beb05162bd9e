"""The running system, and the documents whose examples are run against it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagemill.local.ports import next_free
from tests.support.documents import Document
from tests.support.models import real_store
from tests.support.system import System


@pytest.fixture(scope="session")
def system(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """API, processor and notifier with the default models."""
    store = real_store("u2netp", "ssdlite_mobilenet_v2")
    given: set[int] = set()

    def free_port() -> int:
        given.add(next_free(26000 + os.getpid() % 1000, but=frozenset(given)))
        return max(given)

    home = tmp_path_factory.mktemp("system")
    running = System(broker.bootstrap, home, store.home, free_port, IMAGEMILL_URL_ALLOW="127.0.0.1")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="session")
def documents(shared: Path) -> dict[str, Document]:
    """The original services' documentation, by dialect."""
    return {path.stem: Document(path.read_text()) for path in (shared / "reference").glob("*.md")}


@pytest.fixture
def workplace(tmp_path: Path, photos: Path) -> Path:
    """A folder with the files that the examples name."""
    for name, photo in (("image1.jpg", "coffee.png"), ("image2.jpg", "chelsea.png")):
        with Image.open(photos / photo) as picture:
            picture.convert("RGB").save(tmp_path / name, quality=90)
    return tmp_path
