"""APIs on the real broker: one a test module, and separate ones for single tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import RunningApi, Topics, fresh_settings


@pytest.fixture(scope="module")
def api_settings(broker: Any, tmp_path_factory: pytest.TempPathFactory):
    """Settings with their own topics and home."""
    return fresh_settings(broker.bootstrap, tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def kafka(api_settings) -> Iterator[Topics]:
    """The topics of `api`."""
    with closing(Topics(api_settings)) as topics:
        yield topics


@pytest.fixture(scope="module")
def api(api_settings, kafka: Topics) -> Iterator[RunningApi]:
    """A ready API."""
    running = RunningApi(api_settings).start()
    yield running
    running.stop()


@pytest.fixture
def serve(broker: Any, tmp_path: Path) -> Iterator[Callable[..., tuple[RunningApi, Topics]]]:
    """Start an API of this test with these settings, its own topics and its own home."""
    with ExitStack() as stack:

        def start(**fields: Any) -> tuple[RunningApi, Topics]:
            settings = fresh_settings(broker.bootstrap, tmp_path, **fields)
            topics = stack.enter_context(closing(Topics(settings)))
            running = RunningApi(settings).start()
            stack.callback(running.stop)
            return running, topics

        yield start


@pytest.fixture
def beside(
    api_settings: Any, api: RunningApi, tmp_path: Path
) -> Iterator[Callable[[], RunningApi]]:
    """Start another API on the topics of `api`; all of them share one read model of their own."""
    settings = api_settings.model_copy(update={"projection_path": tmp_path / "projection.db"})
    with ExitStack() as stack:

        def start() -> RunningApi:
            running = RunningApi(settings).start()
            stack.callback(running.stop)
            return running

        yield start
