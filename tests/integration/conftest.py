"""An API on the real broker, one for each test module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import RunningApi, Topics, fresh_settings


@pytest.fixture(scope="module")
def api_settings(broker: Any, tmp_path_factory: pytest.TempPathFactory):
    """Settings with topics and a home of their own."""
    return fresh_settings(broker.bootstrap, tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def kafka(api_settings) -> Topics:
    """The topics of `api`."""
    return Topics(api_settings)


@pytest.fixture(scope="module")
def api(api_settings, kafka: Topics) -> Iterator[RunningApi]:
    """A ready API."""
    running = RunningApi(api_settings).start()
    yield running
    running.stop()
