"""The table of topics: names, keys, partitions, cleanup and retention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from schemas.jobs import Priority
from schemas.times import DAY_MS

# Under the broker's own 1 MB default, a job of 100 URL inputs would not fit in one message.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# How long compacted topics keep tombstones at least: a reader that was away for longer may never
# see one.
TOMBSTONE_RETENTION_MS = DAY_MS


class Partitions(Enum):
    """The number of partitions that a topic is created with."""

    BY_SETTING = "as many as IMAGEMILL_TOPIC_PARTITIONS"
    ONE = "1"


@dataclass(frozen=True)
class Topic:
    """One topic. `name` is without the prefix; `retention_ms` None means compacted only.

    A topic takes part in the count of the setting only where workers share its messages, or where
    a job must be in the same partition of several topics. Rented clusters bill partitions.
    """

    name: str
    key: str
    holds: str
    retention_ms: int | None
    public: bool = False
    partitions: Partitions = Partitions.BY_SETTING

    def partition_count(self, by_setting: int) -> int:
        """Return the partitions to create it with, where the setting has that number."""
        return 1 if self.partitions is Partitions.ONE else by_setting

    def accepts_partitions(self, found: int, by_setting: int) -> bool:
        """Return True if the services work on a topic that has that many partitions.

        A topic of one partition may have more: earlier versions created all with the same number.
        """
        return self.partitions is Partitions.ONE or found == by_setting

    def config(self) -> Mapping[str, str]:
        """Return the topic's Kafka configuration."""
        if self.retention_ms is not None:
            return self.required_config()
        return self.required_config() | {
            "min.cleanable.dirty.ratio": "0.2",
            "segment.ms": str(DAY_MS // 4),
            "delete.retention.ms": str(TOMBSTONE_RETENTION_MS),
        }

    def required_config(self) -> dict[str, str]:
        """Return the part of it without which messages are lost or refused.

        The rest makes compaction prompt; clusters such as MSK Serverless do not let it be set.
        """
        common = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
        if self.retention_ms is None:
            return common | {"cleanup.policy": "compact"}
        return common | {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


JOBS_HIGH = Topic("jobs.high", "job id", "JobSubmitted, ItemQueued", 7 * DAY_MS)
JOBS_NORMAL = Topic("jobs.normal", "job id", "JobSubmitted, ItemQueued", 7 * DAY_MS)
JOBS_LOW = Topic("jobs.low", "job id", "JobSubmitted, ItemQueued", 7 * DAY_MS)
JOBS_CONTROL = Topic("jobs.control", "job id", "CancelRequested, JobExpired, JobClaimed", DAY_MS)
JOBS_RETRY = Topic("jobs.retry", "job id", "ItemQueued with due time and attempt", 7 * DAY_MS)
JOBS_EVENTS = Topic("jobs.events", "job id", "facts of jobs and items", 7 * DAY_MS)
JOBS_STATE = Topic(
    "jobs.state", "job id, or job id/index", "the state after each change", None, public=True
)
JOBS_RESULTS = Topic("jobs.results", "job id", "JobFinished", 7 * DAY_MS, public=True)
JOBS_DEAD_LETTER = Topic(
    "jobs.dead-letter",
    "as source",
    "messages that could not be decoded, with reason headers",
    30 * DAY_MS,
    partitions=Partitions.ONE,
)
WEBHOOKS_ENDPOINTS = Topic(
    "webhooks.endpoints",
    "endpoint id",
    "endpoints as their owners set them",
    None,
    partitions=Partitions.ONE,
)
WEBHOOKS_ENDPOINT_STATUS = Topic(
    "webhooks.endpoint-status",
    "endpoint id",
    "endpoints that fail or were disabled for it",
    None,
    partitions=Partitions.ONE,
)
WEBHOOKS_COMMANDS = Topic(
    "webhooks.commands",
    "delivery id or endpoint id",
    "replays and test events",
    7 * DAY_MS,
    partitions=Partitions.ONE,
)
WEBHOOKS_RETRY = Topic("webhooks.retry", "delivery id", "deliveries to try again", 30 * DAY_MS)
# Each record of one of these waits for the same time, so a partition is in the order of due times.
# Longer waits are made up of several. All are kept for 30 days, far longer than the longest wait.
WEBHOOKS_DELAYS: Mapping[int, Topic] = {
    seconds: Topic(
        f"webhooks.retry.{name}",
        "delivery id",
        f"deliveries that wait for {name}",
        30 * DAY_MS,
        partitions=Partitions.ONE,
    )
    for name, seconds in (
        ("1m", 60),
        ("5m", 300),
        ("30m", 1800),
        ("2h", 7200),
        ("10h", 36_000),
    )
}
WEBHOOKS_DEAD_LETTER = Topic(
    "webhooks.dead-letter",
    "delivery id",
    "deliveries given up",
    30 * DAY_MS,
    partitions=Partitions.ONE,
)
WEBHOOKS_ATTEMPTS = Topic(
    "webhooks.attempts",
    "endpoint id, else delivery id",
    "every attempt",
    30 * DAY_MS,
    partitions=Partitions.ONE,
)
WORKERS_HEARTBEATS = Topic(
    "workers.heartbeats",
    "worker id",
    "slots, busy, models, version",
    None,
    partitions=Partitions.ONE,
)
TEMPLATES = Topic(
    "templates", "name, or owner/name", "job templates", None, partitions=Partitions.ONE
)
ACCESS_KEYS = Topic(
    "access.keys",
    "key id, or key id/revoked",
    "API keys with hashed secrets, revocations",
    None,
    partitions=Partitions.ONE,
)
ACCESS_USED = Topic(
    "access.used", "key id", "the last use of each API key", None, partitions=Partitions.ONE
)
AUDIT = Topic(
    "audit",
    "owner, or name of the caller",
    "records of requests that change something or are refused, and of commands on keys",
    90 * DAY_MS,
    partitions=Partitions.ONE,
)

TOPICS: tuple[Topic, ...] = (
    JOBS_HIGH,
    JOBS_NORMAL,
    JOBS_LOW,
    JOBS_CONTROL,
    JOBS_RETRY,
    JOBS_EVENTS,
    JOBS_STATE,
    JOBS_RESULTS,
    JOBS_DEAD_LETTER,
    WEBHOOKS_ENDPOINTS,
    WEBHOOKS_ENDPOINT_STATUS,
    WEBHOOKS_COMMANDS,
    WEBHOOKS_RETRY,
    *WEBHOOKS_DELAYS.values(),
    WEBHOOKS_DEAD_LETTER,
    WEBHOOKS_ATTEMPTS,
    WORKERS_HEARTBEATS,
    TEMPLATES,
    ACCESS_KEYS,
    ACCESS_USED,
    AUDIT,
)

PRIORITY_TOPICS: Mapping[Priority, Topic] = {
    Priority.HIGH: JOBS_HIGH,
    Priority.NORMAL: JOBS_NORMAL,
    Priority.LOW: JOBS_LOW,
}
