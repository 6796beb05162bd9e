"""What the tests of guarantees share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.harness import Stage


@pytest.fixture
def stage(broker: Any, topic_prefix: str, tmp_path: Path) -> Stage:
    """Topics of this test alone on the common broker."""
    return Stage(broker.bootstrap, topic_prefix, tmp_path).create_topics()


@pytest.fixture
def ports(free_port: Callable[[], int]) -> Callable[[], int]:
    """Ports for workers."""
    return free_port
