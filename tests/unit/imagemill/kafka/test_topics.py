"""Topics are created with fewer settings where a cluster refuses those that are optional."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from imagemill.kafka.topics import may_create_reduced
from schemas.topics import JOBS_RESULTS, JOBS_STATE


@pytest.mark.parametrize(
    ("topic", "code", "reduced"),
    [
        (JOBS_STATE, KafkaError.INVALID_CONFIG, True),
        (JOBS_STATE, KafkaError.POLICY_VIOLATION, True),
        (JOBS_STATE, KafkaError.INVALID_REQUEST, True),
        (JOBS_STATE, KafkaError.INVALID_REPLICATION_FACTOR, False),
        (JOBS_STATE, KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
        # All of its settings are needed.
        (JOBS_RESULTS, KafkaError.INVALID_CONFIG, False),
    ],
)
def test_only_refused_settings_are_left_out(topic, code: int, reduced: bool) -> None:
    assert may_create_reduced(topic, KafkaError(code)) is reduced


def test_what_keeps_messages_is_never_left_out() -> None:
    assert JOBS_STATE.required_config()["cleanup.policy"] == "compact"
    assert JOBS_RESULTS.required_config().keys() >= {"retention.ms", "max.message.bytes"}
