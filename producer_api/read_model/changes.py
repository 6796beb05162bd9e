"""What a batch of messages changes on the read side; pure, so that order and repeats are testable.

Messages that are no use are skipped and told, never raised: one bad message must not stop reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model.rows import JobRow, fields_of
from schemas import cloudevents, topics
from schemas.events import ItemQueued, JobClaimed, JobSubmitted
from schemas.jobs import MAX_ITEMS
from schemas.times import from_epoch, to_epoch

_INDEX_DIGITS = len(str(MAX_ITEMS))
# How much of a wrong number is told.
_TOLD = 20


class Message(Protocol):
    """The part of a confluent-kafka message that is used here."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...


class RetentionCutoff(NamedTuple):
    """The present, and the oldest creation that is kept; both as timestamps."""

    now: str
    oldest: str

    def expired(self, job: JobRow) -> bool:
        """Whether the time of a job has come."""
        return job.expires_at < self.now if job.expires_at else job.created_at < self.oldest


class ClaimRow(NamedTuple):
    """A claim of a job's id, from `at` until `ends_at`; see JobClaimed."""

    job_id: str
    fingerprint: str
    claim_id: str
    ends_at: str
    at: str


@dataclass
class Changes:
    """The rows to write, the last word of the batch for each, and where to go on reading."""

    jobs: dict[str, JobRow] = field(default_factory=dict)
    items: dict[str, dict[int, bytes]] = field(default_factory=dict)
    removed_jobs: set[str] = field(default_factory=set)
    removed_items: set[tuple[str, int]] = field(default_factory=set)
    documents: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    claims: list[ClaimRow] = field(default_factory=list)
    next: dict[TopicPartition, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def job_ids(self) -> set[str]:
        """The jobs that a reader may now see differently."""
        return self.removed_jobs.union(self.jobs, self.items)

    def add(self, row: JobRow) -> None:
        """What a message tells of a job, after what those before it told."""
        known = self.jobs.get(row.job_id)
        self.jobs[row.job_id] = row if known is None else known.merged(row)

    def move_to(self, ends: Mapping[TopicPartition, int]) -> None:
        """Go on reading from there, unless more was read already."""
        for position, end in ends.items():
            self.next[position] = max(end, self.next.get(position, 0))

    def remove(self, job_id: str) -> None:
        """The job is gone; what is added later is told of a new one."""
        self.jobs.pop(job_id, None)
        self.items.pop(job_id, None)
        self.removed_jobs.add(job_id)


class ChangeCollector:
    """Sorts messages by topic into changes. `prefix` is that of the topic names."""

    def __init__(self, prefix: str) -> None:
        self._submissions = {prefix + topic.name for topic in topics.PRIORITY_TOPICS.values()}
        self._states = prefix + topics.JOBS_STATE.name
        self._control = prefix + topics.JOBS_CONTROL.name
        self._kinds = {
            prefix + topic.name: topic.name
            for topic in (topics.TEMPLATES, topics.WORKERS_HEARTBEATS)
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics read, by their full names."""
        return (*self.submissions, *self.states)

    @property
    def submissions(self) -> tuple[str, ...]:
        """The topics with the submissions, by their full names."""
        return tuple(sorted(self._submissions))

    @property
    def states(self) -> tuple[str, ...]:
        """The topics with what became of the jobs, and with all else that is read."""
        return (self._states, self._control, *self._kinds)

    def fold(
        self, messages: Iterable[Message], horizon: RetentionCutoff, changes: Changes | None = None
    ) -> Changes:
        """What the messages, in the order of each partition, change.

        Args:
            messages: of the topics above, none of them an error.
            horizon: submissions whose time has come are left out; their tombstones may be gone
                already, and they would stay queued for ever.
            changes: what those before these change, to be gone on with; else a new one.
        """
        changes = Changes() if changes is None else changes
        for message in messages:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None and partition is not None and offset is not None
            try:
                self._one(changes, topic, message, horizon)
            except (cloudevents.DecodeError, UnicodeDecodeError) as error:
                changes.skipped.append(f"{topic}[{partition}]@{offset}: {error}")
            changes.next[TopicPartition(topic, partition)] = offset + 1
        return changes

    def _one(
        self, changes: Changes, topic: str, message: Message, horizon: RetentionCutoff
    ) -> None:
        if topic in self._submissions:
            _submission(changes, message, horizon)
        elif topic == self._states:
            _state(changes, (message.key() or b"").decode(), message.value())
        elif topic == self._control:
            _claim(changes, message, horizon)
        else:
            name = (message.key() or b"").decode()
            changes.documents[self._kinds[topic], name] = message.value()


def _submission(changes: Changes, message: Message, horizon: RetentionCutoff) -> None:
    kind = cloudevents.event_type(message.headers())
    if kind == ItemQueued.TYPE:
        return
    if kind != JobSubmitted.TYPE:
        raise cloudevents.DecodeError(f"{kind} does not belong here")
    row = JobRow.of_submission(message.value() or b"")
    if not horizon.expired(row):
        changes.add(row)


def _claim(changes: Changes, message: Message, horizon: RetentionCutoff) -> None:
    """What else is on that topic is the processors' to judge."""
    if cloudevents.event_type(message.headers()) != JobClaimed.TYPE:
        return
    claim = cloudevents.decode(message.headers(), message.value())
    assert isinstance(claim, JobClaimed)
    if claim.job_id.encode() != message.key():
        # On another partition, perhaps: nothing would tell which of two was the first.
        raise cloudevents.DecodeError(f"a claim of {claim.job_id} under another key")
    at = to_epoch(claim.at)
    # Not before it, either: a clock that is years ahead must not keep an id for years.
    if abs(to_epoch(horizon.now) - at) <= JobClaimed.LASTS_S:
        ends_at = from_epoch(at + JobClaimed.LASTS_S)
        changes.claims.append(
            ClaimRow(claim.job_id, claim.fingerprint, claim.claim_id, ends_at, claim.at)
        )


def _state(changes: Changes, key: str, value: bytes | None) -> None:
    job_id, slash, index = key.partition("/")
    if slash:
        _item(changes, job_id, index, value)
    elif value is None:
        changes.remove(job_id)
    else:
        changes.add(JobRow.of_state(job_id, value))


def _item(changes: Changes, job_id: str, index: str, value: bytes | None) -> None:
    # No more digits than the largest index has: others may write keys, too.
    if not index.isdecimal() or len(index) > _INDEX_DIGITS:
        raise cloudevents.DecodeError(f"{index[:_TOLD]!r} is no item's number")
    number = int(index)
    if value is None:
        changes.removed_items.add((job_id, number))
        changes.items.get(job_id, {}).pop(number, None)
        return
    fields_of(value)
    changes.removed_items.discard((job_id, number))
    changes.items.setdefault(job_id, {})[number] = value
