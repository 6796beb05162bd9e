"""The origin of a file's rows, and the reasons why they no longer fit the topics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from schemas.topics import TOMBSTONE_RETENTION_MS

_TIMEOUT_S = 5.0
_TOMBSTONES_KEPT_S = TOMBSTONE_RETENTION_MS / 1000


@dataclass(frozen=True)
class Origin:
    """A cluster, the ids of the topics read, and when the rows were last as new as these.

    A topic that is deleted and created again under its name gets another id, and its offsets begin
    again at 0. Brokers before Kafka 2.8 give no ids.
    """

    cluster_id: str
    topic_ids: dict[str, str] = field(default_factory=dict)
    current_at_s: float = 0.0

    def outdated_reason(self, present: Origin) -> str | None:
        """Say why rows of this origin must be read again from the present one; None if not."""
        if self.cluster_id != present.cluster_id:
            return "it was filled from another Kafka cluster"
        for topic, topic_id in self.topic_ids.items():
            if present.topic_ids.get(topic, topic_id) != topic_id:
                return f"the topic {topic} was deleted and created again"
        # Rows whose tombstones came and went meanwhile would stay for ever.
        if present.current_at_s - self.current_at_s > _TOMBSTONES_KEPT_S:
            hours = _TOMBSTONES_KEPT_S / 3600
            return f"it was not read for more than the {hours:.0f} h that tombstones are kept"
        return None


def present_origin(admin: AdminClient, topics: Iterable[str], now_s: float) -> Origin:
    """Ask the cluster for its id and those of the topics.

    Raises:
        KafkaException: it does not answer in time, or lacks a topic.
    """
    cluster_id = admin.list_topics(timeout=_TIMEOUT_S).cluster_id
    asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=_TIMEOUT_S)
    found = {topic: str(answer.result().topic_id) for topic, answer in asked.items()}
    # All zeros from a broker that has no ids: it never differs from itself.
    return Origin(cluster_id, found, now_s)
