"""The context in which one operation runs, with the default detector and models of test data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from imagemill.operations import RunContext, SourceInfo
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore
from tests.support.models import real_store

MakeContext = Callable[[Image.Image], RunContext]


@pytest.fixture(scope="session")
def context() -> MakeContext:
    """Make the context of a run on a picture, with the default detector installed."""
    return context_of(real_store("ssdlite_mobilenet_v2"))


@pytest.fixture(scope="session")
def yolo_context(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeContext:
    """Make the context of a run on a picture, with YOLOX and YOLOv5 installed."""
    return context_of(ModelStore(tmp_path_factory.mktemp("models"), shared / "models"))


def context_of(store: ModelStore) -> MakeContext:
    """Make contexts that share a loader of the store's models."""
    loader = ModelLoader(store)

    def make(image: Image.Image) -> RunContext:
        return RunContext(loader, SourceInfo("PNG", image.size, bytes=1000), max_pixels=50_000_000)

    return make
