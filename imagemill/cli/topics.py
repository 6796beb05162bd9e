"""`imagemill topics`: create, list or check the Kafka topics."""

from __future__ import annotations

import argparse

from imagemill.cli.prepare import ensure_topics
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import check_topics
from imagemill.local.errors import LocalError
from imagemill.settings import KafkaSettings
from schemas.times import DAY_MS
from schemas.topics import TOPICS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action."""
    parser.add_argument(
        "action",
        choices=("create", "list", "check"),
        help="create missing topics, list those that should exist, or check the cluster",
    )


def run(args: argparse.Namespace) -> int:
    """Create, list or check the topics of the cluster at KAFKA_BOOTSTRAP_SERVERS."""
    settings = KafkaSettings()
    if args.action == "list":
        for topic in TOPICS:
            days = "compacted" if topic.retention_ms is None else f"{_days(topic.retention_ms)} d"
            count = topic.partition_count(settings.topic_partitions)
            partitions = f"{count} partition{'s' if count > 1 else ''}"
            print(f"{settings.topic(topic.name):32} {days:>10} {partitions:>15}  {topic.holds}")
        return 0
    if args.action == "create":
        ensure_topics(settings)
    try:
        check_topics(settings)
    except (KafkaUnavailable, TopicsMissing) as error:
        raise LocalError(str(error)) from error
    print("all topics are there")
    return 0


def _days(milliseconds: int) -> int:
    return milliseconds // DAY_MS
