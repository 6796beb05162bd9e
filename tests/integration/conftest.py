"""APIs on the real broker: one for each test module, and more for tests that need their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import RunningApi, Topics, fresh_settings


@pytest.fixture(scope="module")
def api_settings(broker: Any, tmp_path_factory: pytest.TempPathFactory):
    """Settings with topics and a home of their own."""
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
    """Starts an API with these settings, and topics and a home of its own, for one test."""
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
    """Starts another API on the topics of `api`, always with the same read side of its own."""
    settings = api_settings.model_copy(update={"projection_path": tmp_path / "projection.db"})
    with ExitStack() as stack:

        def start() -> RunningApi:
            running = RunningApi(settings).start()
            stack.callback(running.stop)
            return running

        yield start
