"""What running one operation takes: a model loader on the shared models, and a context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from imagemill.operations import RunContext, SourceInfo
from processor.models.loader import ModelLoader
from processor.models.store import ModelStore

MakeContext = Callable[[Image.Image], RunContext]


@pytest.fixture(scope="session")
def loader(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelLoader:
    return ModelLoader(ModelStore(tmp_path_factory.mktemp("models"), shared / "models"))


@pytest.fixture(scope="session")
def context(loader: ModelLoader) -> MakeContext:
    def make(image: Image.Image) -> RunContext:
        return RunContext(loader, SourceInfo("PNG", image.size, bytes=1000), max_pixels=50_000_000)

    return make
