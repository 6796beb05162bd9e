"""Topics and a worker for the tests of guarantees."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.harness import Load, Results, Stage, Workers, workers


@dataclass(frozen=True)
class Served:
    """A running worker, the load sent to it and its results."""

    stage: Stage
    running: Workers
    load: Load
    results: Results


@pytest.fixture
def stage(broker: Any, topic_prefix: str, tmp_path: Path) -> Stage:
    """Topics of this test alone on the common broker."""
    return Stage(broker.bootstrap, topic_prefix, tmp_path).create_topics()


@pytest.fixture
def own_stage(own_broker: Any, topic_prefix: str, tmp_path: Path) -> Stage:
    """Topics on a broker of this test, which may kill it."""
    return Stage(own_broker.bootstrap, topic_prefix, tmp_path).create_topics()


@pytest.fixture(scope="module")
def served(
    broker: Any, tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[Served]:
    """One worker shared by the tests that kill nothing."""
    prefix = f"t{uuid.uuid4().hex[:10]}."
    stage = Stage(broker.bootstrap, prefix, tmp_path_factory.mktemp("served")).create_topics()
    with workers(stage, free_port, slots=2) as running:
        running.start("w1")
        running.wait_ready()
        yield Served(stage, running, Load(stage), Results(stage))
