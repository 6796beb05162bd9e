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


class _Columns(BaseModel):
    """What a submission is filed under. The rest is read when somebody asks: to check all of
    every message would take four times as long, and a rebuild reads millions."""

    model_config = ConfigDict(extra="ignore")

    job_id: str
    operation: str = ""
    priority: Priority = Priority.NORMAL
    created_at: str = ""
    expires_at: str | None = None


class _StateColumns(_Columns):
    """What a state is filed under."""

    revision: int
    status: JobStatus
    finished_at: str | None = None


_Filed = TypeVar("_Filed", bound=_Columns)


class JobRow(NamedTuple):
    """A job as far as messages tell it; `submitted` and `state` are the messages themselves.

    `created_at` is empty, and so are the columns beside it, where what was asked for is not known.
    """

    job_id: str
    revision: int
    status: str
    ended_at: str | None
    state: bytes | None
    operation: str
    priority: str
    created_at: str
    expires_at: str | None
    submitted: bytes | None

    def merged(self, other: JobRow) -> JobRow:
        """What this row, the earlier read, and another of the same job tell together.

        The later revision counts, but a state may come before its submission, and then may not
        know yet what was asked for. The store does the same with the row that it holds.
        """
        state, old = (other, self) if other.revision > self.revision else (self, other)
        header = state if state.created_at else old
        return JobRow(*state[:5], *header[5:9], self.submitted or other.submitted)


class Horizon(NamedTuple):
    """The present, and the oldest creation that is kept; both as timestamps."""

    now: str
    oldest: str

    def expired(self, job: _Columns) -> bool:
        """Whether the time of a job has come."""
        return job.expires_at < self.now if job.expires_at else job.created_at < self.oldest


@dataclass
class Changes:
    """The rows to write, the last word of the batch for each, and where to go on reading."""

    jobs: dict[str, JobRow] = field(default_factory=dict)
    items: dict[tuple[str, int], bytes] = field(default_factory=dict)
    removed_jobs: set[str] = field(default_factory=set)
    removed_items: set[tuple[str, int]] = field(default_factory=set)
    documents: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    next: dict[Position, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def job_ids(self) -> set[str]:
        """The jobs that a reader may now see differently."""
        changed = {job_id for job_id, _ in self.items}
        return changed.union(self.jobs, self.removed_jobs)

    def add(self, row: JobRow) -> None:
        """What a message tells of a job, after what those before it told."""
        known = self.jobs.get(row.job_id)
        self.jobs[row.job_id] = row if known is None else known.merged(row)


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
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None and partition is not None and offset is not None
            try:
                self._one(changes, topic, message, horizon)
            except (codec.DecodeError, UnicodeDecodeError) as error:
                changes.skipped.append(f"{topic}[{partition}]@{offset}: {error}")
            changes.next[topic, partition] = offset + 1
        return changes

    def _one(self, changes: Changes, topic: str, message: Message, horizon: Horizon) -> None:
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
    job = _filed(_Columns, document)
    if not horizon.expired(job):
        changes.add(
            JobRow(
                job.job_id, 0, JobStatus.QUEUED.value, None, None,
                job.operation, job.priority.value, job.created_at, job.expires_at, document,
            )
        )  # fmt: skip


def _state(changes: Changes, key: str, value: bytes | None) -> None:
    job_id, slash, index = key.partition("/")
    if slash:
        _item(changes, job_id, index, value)
    elif value is None:
        changes.removed_jobs.add(job_id)
        changes.jobs.pop(job_id, None)
    else:
        state = _filed(_StateColumns, value)
        if state.job_id != job_id:
            raise codec.DecodeError(f"the state of {state.job_id} under the key {job_id}")
        changes.add(
            JobRow(
                job_id, state.revision, state.status.value,
                state.finished_at if state.status.ended else None, value,
                state.operation, state.priority.value, state.created_at, state.expires_at, None,
            )
        )  # fmt: skip


def _filed(model: type[_Filed], document: bytes) -> _Filed:
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the message"
        raise codec.DecodeError(f"{where}: {first['msg']}") from error


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
