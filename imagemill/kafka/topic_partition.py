"""The address of a log in a Kafka cluster."""

from __future__ import annotations

from typing import NamedTuple


class TopicPartition(NamedTuple):
    """One partition of a topic; equal to the plain tuple, so usable as a key of a table."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """`topic-partition`, as Kafka's own tools write it."""
        return f"{self.topic}-{self.partition}"
