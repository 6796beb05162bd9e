"""What a batch of messages changes on the read side; pure, so that order and repeats are testable.

Messages that are no use are skipped and told, never raised: one bad message must not stop reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from schemas import codec, topics
from schemas.events import ItemQueued, JobSubmitted
from schemas.jobs import JobHeader, JobState


class Message(Protocol):
    """The part of a confluent-kafka message that is used here."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...


Position = tuple[str, int]


class Horizon(NamedTuple):
    """The present, and the oldest creation that is kept; both as timestamps."""

    now: str
    oldest: str

    def expired(self, job: JobHeader) -> bool:
        """Whether the time of a job has come."""
        return job.expires_at < self.now if job.expires_at else job.created_at < self.oldest


@dataclass
class Changes:
    """The rows to write, the last word of the batch for each, and where to go on reading."""

    submitted: dict[str, tuple[JobSubmitted, bytes]] = field(default_factory=dict)
    states: dict[str, tuple[JobState, bytes]] = field(default_factory=dict)
    items: dict[tuple[str, int], bytes] = field(default_factory=dict)
    removed_jobs: set[str] = field(default_factory=set)
    removed_items: set[tuple[str, int]] = field(default_factory=set)
    documents: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    next: dict[Position, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def jobs(self) -> set[str]:
        """The jobs that a reader may now see differently."""
        changed = {job_id for job_id, _ in self.items}
        return changed.union(self.submitted, self.states, self.removed_jobs)


class Fold:
    """Sorts messages by topic into changes. `prefix` is that of the topic names."""

    def __init__(self, prefix: str) -> None:
        self._submissions = {prefix + topic.name for topic in topics.PRIORITY_TOPICS.values()}
        self._states = prefix + topics.JOBS_STATE.name
        self._kinds = {
            prefix + topic.name: topic.name
            for topic in (topics.TEMPLATES, topics.WORKERS_HEARTBEATS)
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics read, by their full names."""
        return (*sorted(self._submissions), self._states, *self._kinds)

    def fold(self, messages: Iterable[Message], horizon: Horizon) -> Changes:
        """What the messages, in the order of each partition, change.

        Args:
            messages: of the topics above, none of them an error.
            horizon: submissions whose time has come are left out; their tombstones may be gone
                already, and they would stay queued for ever.
        """
        changes = Changes()
        for message in messages:
            try:
                self._one(changes, message, horizon)
            except (codec.DecodeError, UnicodeDecodeError) as error:
                where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
                changes.skipped.append(f"{where}: {error}")
            position = (str(message.topic()), int(message.partition() or 0))
            changes.next[position] = int(message.offset() or 0) + 1
        return changes

    def _one(self, changes: Changes, message: Message, horizon: Horizon) -> None:
        topic = str(message.topic())
        if topic in self._submissions:
            _submission(changes, message, horizon)
        elif topic == self._states:
            _state(changes, (message.key() or b"").decode(), message.value())
        else:
            name = (message.key() or b"").decode()
            changes.documents[self._kinds[topic], name] = message.value()


def _submission(changes: Changes, message: Message, horizon: Horizon) -> None:
    headers = message.headers()
    if codec.event_type(headers) == ItemQueued.TYPE:
        return
    event = codec.decode(headers, message.value())
    if not isinstance(event, JobSubmitted):
        raise codec.DecodeError(f"{event.TYPE} does not belong here")
    if horizon.expired(event):
        return
    changes.submitted.setdefault(event.job_id, (event, message.value() or b""))


def _state(changes: Changes, key: str, value: bytes | None) -> None:
    job_id, slash, index = key.partition("/")
    if slash:
        _item(changes, job_id, index, value)
    elif value is None:
        changes.removed_jobs.add(job_id)
        changes.submitted.pop(job_id, None)
        changes.states.pop(job_id, None)
    else:
        state = codec.decode_state(value)
        if state.job_id != job_id:
            raise codec.DecodeError(f"the state of {state.job_id} under the key {job_id}")
        known = changes.states.get(job_id)
        if known is None or known[0].revision < state.revision:
            changes.states[job_id] = (state, value)


def _item(changes: Changes, job_id: str, index: str, value: bytes | None) -> None:
    if not index.isdecimal():
        raise codec.DecodeError(f"{index!r} is no item's number")
    key = (job_id, int(index))
    if value is None:
        changes.removed_items.add(key)
        changes.items.pop(key, None)
        return
    codec.decode_item(value)
    changes.removed_items.discard(key)
    changes.items[key] = value
