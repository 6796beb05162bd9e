"""A mock broker for the tests of the notifier's parts."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from imagemill.settings import NotifierSettings
from tests.support.mock_broker import MockBroker, mock_broker
from tests.support.notifier import notifier_settings


@pytest.fixture
def kafka() -> MockBroker:
    """Return the mock broker of this process; topics and groups have a prefix per test."""
    return mock_broker()


@pytest.fixture
def settings(kafka: MockBroker, tmp_path: Path) -> NotifierSettings:
    """Settings with topics and groups of this test alone, and any free port."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    return notifier_settings(kafka.bootstrap, tmp_path, prefix, notifier_port=1)
