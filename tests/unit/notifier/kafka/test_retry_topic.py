"""A delivery waits on the topic of the longest delay that fits, again and again until it is due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.kafka.records import retry_topic
from schemas.times import DAY_S, from_epoch
from schemas.topics import WEBHOOKS_DELAYS, WEBHOOKS_RETRY
from schemas.webhooks import WebhookDelivery

NOW = 1_800_000_000.0
DELAYS_S = {topic.name: delay_s for delay_s, topic in WEBHOOKS_DELAYS.items()}


def due_in(seconds: float | None) -> WebhookDelivery:
    due_at = from_epoch(NOW + seconds) if seconds is not None else None
    return WebhookDelivery(delivery_id="msg_1", url="https://a.test", body="{}", due_at=due_at)


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (None, "webhooks.retry"),
        (-5, "webhooks.retry"),
        (59, "webhooks.retry"),
        (60, "webhooks.retry.1m"),
        (301, "webhooks.retry.5m"),
        (2000, "webhooks.retry.30m"),
        (18_000, "webhooks.retry.2h"),
        (DAY_S, "webhooks.retry.10h"),
    ],
)
def test_the_topic_of_a_delivery(seconds: float | None, name: str):
    assert retry_topic(due_in(seconds), NOW).name == name


@given(st.floats(0, 7 * DAY_S * 1.2))
def test_the_longest_wait_takes_few_steps_and_none_ends_late(wait_s: float):
    delivery, at, steps = due_in(wait_s), NOW, 0
    while (topic := retry_topic(delivery, at)) is not WEBHOOKS_RETRY:
        at += DELAYS_S[topic.name]
        steps += 1
        assert at <= NOW + wait_s
    assert NOW + wait_s - at < 61
    assert steps <= 36


def test_retry_topics_outlive_the_longest_wait():
    kept = [topic.retention_ms for topic in WEBHOOKS_DELAYS.values()]
    assert min(kept) > 2 * 7 * DAY_S * 1000
