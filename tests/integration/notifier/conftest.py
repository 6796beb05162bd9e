"""Topics on the broker for the tests of the notifier's parts."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from imagemill.settings import NotifierSettings
from schemas.topics import TOPICS
from tests.support.notifier import notifier_settings
from tests.support.topic_log import TopicLog


@pytest.fixture(scope="module")
def kafka(broker: Any) -> TopicLog:
    """The topics of the broker."""
    return TopicLog(broker.bootstrap)


@pytest.fixture
def settings(kafka: TopicLog, tmp_path: Path) -> NotifierSettings:
    """Settings with topics, created, and groups of this test alone."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    settings = notifier_settings(kafka.bootstrap, tmp_path, prefix, notifier_port=1)
    kafka.create(*(settings.topic(topic.name) for topic in TOPICS))
    return settings
