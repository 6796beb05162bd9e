"""What a batch of messages changes on the read side; pure, so that order and repeats are testable.

Messages that are no use are skipped and told, never raised: one bad message must not stop reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas import codec, topics
from schemas.events import ItemQueued, JobSubmitted
from schemas.jobs import JobStatus, Priority


class Message(Protocol):
    """The part of a confluent-kafka message that is used here."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...


Position = tuple[str, int]


class Columns(BaseModel):
    """What a submission is filed under. The rest is read when somebody asks: to check all of
    every message would take four times as long, and a rebuild reads millions."""

    model_config = ConfigDict(extra="ignore")

    job_id: str
    operation: str = ""
    priority: Priority = Priority.NORMAL
    created_at: str = ""
    expires_at: str | None = None


class StateColumns(Columns):
    """What a state is filed under."""

    revision: int
    status: JobStatus
    finished_at: str | None = None


Filed = TypeVar("Filed", bound=Columns)


class Horizon(NamedTuple):
    """The present, and the oldest creation that is kept; both as timestamps."""

    now: str
    oldest: str

    def expired(self, job: Columns) -> bool:
        """Whether the time of a job has come."""
        return job.expires_at < self.now if job.expires_at else job.created_at < self.oldest


@dataclass
class Changes:
    """The rows to write, the last word of the batch for each, and where to go on reading."""

    submitted: dict[str, tuple[Columns, bytes]] = field(default_factory=dict)
    states: dict[str, tuple[StateColumns, bytes]] = field(default_factory=dict)
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
    kind = codec.event_type(message.headers())
    if kind == ItemQueued.TYPE:
        return
    if kind != JobSubmitted.TYPE:
        raise codec.DecodeError(f"{kind} does not belong here")
    document = message.value() or b""
    job = _filed(Columns, document)
    if not horizon.expired(job):
        changes.submitted.setdefault(job.job_id, (job, document))


def _state(changes: Changes, key: str, value: bytes | None) -> None:
    job_id, slash, index = key.partition("/")
    if slash:
        _item(changes, job_id, index, value)
    elif value is None:
        changes.removed_jobs.add(job_id)
        changes.submitted.pop(job_id, None)
        changes.states.pop(job_id, None)
    else:
        state = _filed(StateColumns, value)
        if state.job_id != job_id:
            raise codec.DecodeError(f"the state of {state.job_id} under the key {job_id}")
        known = changes.states.get(job_id)
        if known is None or known[0].revision < state.revision:
            changes.states[job_id] = (state, value)


def _filed(model: type[Filed], document: bytes) -> Filed:
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        raise codec.DecodeError(f"not a {model.__name__}: {error.error_count()} errors") from error


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
