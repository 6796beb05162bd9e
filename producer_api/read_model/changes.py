"""Turns a batch of messages into changes of the file; pure, so that order and repeats are testable.

Anyone may write to a topic. A message that cannot be used is skipped and reported, never raised:
one bad message must not stop reads. What goes into a column is checked here; the rest of a message
is stored as it came and checked when the job is read. Checking all of it would take five times as
long, and a rebuild reads millions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model.claims import ClaimRow
from producer_api.read_model.webhooks.rows import WEBHOOK_RECORDS, Place, WebhookChanges
from schemas import cloudevents, topics
from schemas.cloudevents import DecodeError
from schemas.events import ItemQueued, JobClaimed, JobSubmitted
from schemas.jobs import MAX_ITEMS, JobStatus, Priority
from schemas.times import DAY_S, from_epoch

_MAX_INDEX_DIGITS = len(str(MAX_ITEMS))
# Characters of a wrong item index that are repeated in the error.
_MAX_QUOTED_CHARS = 20
_PRIORITIES = tuple(priority.value for priority in Priority)
_STATUSES = tuple(status.value for status in JobStatus)
_ENDED = tuple(status.value for status in JobStatus if status.ended)
# The largest integer that SQLite stores.
_MAX_REVISION = 2**63 - 1
# Pixels of one image that are counted at most, so that a day's sum is one that SQLite stores.
_MAX_COUNTED_PIXELS = 10**11


class Message(Protocol):
    """The part of a confluent-kafka message that is used here."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes]] | None: ...


class RetentionCutoff(NamedTuple):
    """The present, and the creation time of the oldest jobs that are kept; both timestamps."""

    now: str
    oldest: str

    @classmethod
    def current(cls, retention_days: float) -> RetentionCutoff:
        """Compute the cutoff as of now."""
        now_s = time.time()
        return cls(from_epoch(now_s), from_epoch(now_s - retention_days * DAY_S))

    def expired(self, job: JobRow) -> bool:
        """Tell if the job may be removed, going by when it was made or is to expire."""
        return job.expires_at < self.now if job.expires_at else job.created_at < self.oldest


class JobRow(NamedTuple):
    """A row of the table jobs; `submitted` and `state` are the messages themselves.

    `created_at` and the columns beside it are empty while the job's header is unknown; `images` and
    `pixels` are 0 while its submission is.
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
    owner: str | None
    images: int
    pixels: int
    submitted: bytes | None

    @classmethod
    def of_submission(cls, document: bytes) -> JobRow:
        """Make the row of a JobSubmitted. Raises DecodeError."""
        fields = fields_of(document)
        get = fields.get
        job_id, operation, created_at = get("job_id"), get("operation", ""), get("created_at", "")
        priority, expires_at, owner = get("priority", "normal"), get("expires_at"), get("owner")
        if type(job_id) is not str:
            raise DecodeError("job_id: not a string")
        _check_header(operation, priority, created_at, expires_at, owner)
        images, pixels = (0, 0) if owner is None else _images_of(fields)
        return cls(
            job_id, 0, "queued", None, None,
            operation, priority, created_at, expires_at, owner, images, pixels, document,
        )  # fmt: skip

    @classmethod
    def of_state(cls, job_id: str, document: bytes) -> JobRow:
        """Make the row of a JobState under the key of that job. Raises DecodeError."""
        get = fields_of(document).get
        operation, created_at = get("operation", ""), get("created_at", "")
        priority, expires_at, owner = get("priority", "normal"), get("expires_at"), get("owner")
        revision, status, ended_at = get("revision"), get("status"), get("finished_at")
        if get("job_id") != job_id:
            raise DecodeError(f"the state of {get('job_id')!r} under the key {job_id}")
        _check_header(operation, priority, created_at, expires_at, owner)
        if type(revision) is not int or not 0 <= revision <= _MAX_REVISION:
            raise DecodeError(f"revision: not a whole number from 0 to {_MAX_REVISION}")
        if status not in _STATUSES:
            raise DecodeError(f"status: none of {', '.join(_STATUSES)}")
        if status not in _ENDED:
            ended_at = None
        elif ended_at is not None and type(ended_at) is not str:
            raise DecodeError("finished_at: not a string")
        return cls(
            job_id, revision, status, ended_at, document,
            operation, priority, created_at, expires_at, owner, 0, 0, None,
        )  # fmt: skip

    def merged(self, other: JobRow) -> JobRow:
        """Merge two rows of one job, `other` the later read: the higher revision wins.

        A state that came before its submission may lack the header, which then comes from the
        submission; one of a worker that knows no owners lacks the owner alone. writer.py does the
        same in SQL with the row that is in the file.
        """
        state, old = (other, self) if other.revision > self.revision else (self, other)
        header = state if state.created_at else old
        owner = next((row.owner for row in (header, self, other) if row.owner is not None), None)
        submission = self if self.submitted is not None else other
        return JobRow._make((*state[:5], *header[5:9], owner, *submission[10:]))


class Usage(NamedTuple):
    """The images that an owner submitted on a day, and the pixels of those that it uploaded."""

    owner: str
    day: str
    images: int
    pixels: int


@dataclass
class Changes:
    """The rows to write, for each the last one of the batch, and the offsets after the batch."""

    jobs: dict[str, JobRow] = field(default_factory=dict)
    """By job id."""
    items: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Item documents by job id and index."""
    removed_jobs: set[str] = field(default_factory=set)
    """Jobs to delete before the rows above are written."""
    removed_items: set[tuple[str, int]] = field(default_factory=set)
    documents: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    """Messages of the other compacted topics by topic and key; None deletes."""
    claims: list[ClaimRow] = field(default_factory=list)
    """In the order of the log."""
    expired_usage: list[Usage] = field(default_factory=list)
    """Images of submissions that are left out; those of the others are counted with their rows."""
    webhooks: WebhookChanges = field(default_factory=WebhookChanges)
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    """The offset to read next, of each partition that moved."""
    skipped: list[str] = field(default_factory=list)
    """A line for each message that could not be used."""
    messages: int = 0
    """Messages collected, those included that change nothing."""
    size_bytes: int = 0
    """Bytes of the jobs, items and attempts that were added, those replaced since included."""

    def job_ids(self) -> set[str]:
        """Return the jobs that readers may see differently after these changes."""
        return self.removed_jobs.union(self.jobs, self.items)

    def add_job(self, row: JobRow) -> None:
        """Add a row, merged with the one that earlier messages of the batch made."""
        known = self.jobs.get(row.job_id)
        self.jobs[row.job_id] = row if known is None else known.merged(row)
        self.size_bytes += len(row.state or b"") + len(row.submitted or b"")

    def add_item(self, job_id: str, index: int, document: bytes) -> None:
        """Add an item of a running batch."""
        self.removed_items.discard((job_id, index))
        self.items.setdefault(job_id, {})[index] = document
        self.size_bytes += len(document)

    def remove_job(self, job_id: str) -> None:
        """Delete a job with its items; what is added afterwards is of a new job of that id."""
        self.jobs.pop(job_id, None)
        self.items.pop(job_id, None)
        self.removed_jobs.add(job_id)

    def remove_item(self, job_id: str, index: int) -> None:
        """Delete an item."""
        self.removed_items.add((job_id, index))
        self.items.get(job_id, {}).pop(index, None)

    def advance(self, ends: Mapping[TopicPartition, int]) -> None:
        """Move on to these ends of partitions, unless messages moved further."""
        for partition, end in ends.items():
            self.next_offsets[partition] = max(end, self.next_offsets.get(partition, 0))


class ChangeCollector:
    """Collects changes from the messages of the topics whose names have this prefix."""

    def __init__(self, prefix: str) -> None:
        self._submissions = {prefix + topic.name for topic in topics.PRIORITY_TOPICS.values()}
        self._states = prefix + topics.JOBS_STATE.name
        self._control = prefix + topics.JOBS_CONTROL.name
        self._kinds = {
            prefix + topic.name: topic.name
            for topic in (
                topics.TEMPLATES,
                topics.WORKERS_HEARTBEATS,
                topics.WEBHOOKS_ENDPOINTS,
                topics.WEBHOOKS_ENDPOINT_STATUS,
            )
        }
        self._webhooks = {prefix + topic.name: topic.name for topic in WEBHOOK_RECORDS}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read, by their full names."""
        return (
            *sorted(self._submissions),
            self._states,
            self._control,
            *self._kinds,
            *self._webhooks,
        )

    def collect(
        self, messages: Iterable[Message], cutoff: RetentionCutoff, changes: Changes | None = None
    ) -> Changes:
        """Return what the messages change.

        Args:
            messages: of the topics above, each partition's in order, none of them an error.
            cutoff: submissions expired by then are left out. The tombstones of such jobs may be
                gone, and without one they would stay queued for ever.
            changes: those of earlier messages, extended in place; a new one if None.
        """
        changes = Changes() if changes is None else changes
        for message in messages:
            changes.messages += 1
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None and partition is not None and offset is not None
            try:
                self._add(changes, topic, message, cutoff)
            except (DecodeError, UnicodeDecodeError) as error:
                # Guarantee 5 for reads: an undecodable message never stops a partition.
                changes.skipped.append(f"{topic}[{partition}]@{offset}: {error}")
            changes.next_offsets[TopicPartition(topic, partition)] = offset + 1
        return changes

    def _add(self, changes: Changes, topic: str, message: Message, cutoff: RetentionCutoff) -> None:
        if topic in self._submissions:
            _add_submission(changes, message, cutoff)
        elif topic == self._states:
            _add_state(changes, (message.key() or b"").decode(), message.value())
        elif topic == self._control:
            _add_claim(changes, message, cutoff)
        elif topic in self._webhooks:
            place = Place(self._webhooks[topic], message.partition() or 0, message.offset() or 0)
            changes.size_bytes += changes.webhooks.add(
                place, message.headers(), message.value() or b"", cutoff.oldest
            )
        else:
            name = (message.key() or b"").decode()
            changes.documents[self._kinds[topic], name] = message.value()


def _add_submission(changes: Changes, message: Message, cutoff: RetentionCutoff) -> None:
    kind = cloudevents.event_type(message.headers())
    if kind == ItemQueued.TYPE:
        return
    if kind != JobSubmitted.TYPE:
        raise DecodeError(f"{kind} does not belong here")
    row = JobRow.of_submission(message.value() or b"")
    if not cutoff.expired(row):
        changes.add_job(row)
    elif row.owner is not None:
        day = row.created_at[: len("2026-01-31")]
        changes.expired_usage.append(Usage(row.owner, day, row.images, row.pixels))


def _add_claim(changes: Changes, message: Message, cutoff: RetentionCutoff) -> None:
    # The other events of jobs.control are for the track agent.
    if cloudevents.event_type(message.headers()) != JobClaimed.TYPE:
        return
    claim = cloudevents.decode(message.headers(), message.value())
    assert isinstance(claim, JobClaimed)
    row = ClaimRow.of_event(claim, message.key(), cutoff.now)
    if row is not None:
        changes.claims.append(row)


def _add_state(changes: Changes, key: str, value: bytes | None) -> None:
    job_id, slash, index = key.partition("/")
    if slash:
        _add_item(changes, job_id, index, value)
    elif value is None:
        changes.remove_job(job_id)
    else:
        # Guarantee 6: what the track agent decided, as it came; the API never derives a state.
        changes.add_job(JobRow.of_state(job_id, value))


def _add_item(changes: Changes, job_id: str, index: str, value: bytes | None) -> None:
    # Python refuses to convert thousands of digits, and others may write keys, too.
    if not index.isdecimal() or len(index) > _MAX_INDEX_DIGITS:
        raise DecodeError(f"{index[:_MAX_QUOTED_CHARS]!r} is no item's index")
    if value is None:
        changes.remove_item(job_id, int(index))
    else:
        fields_of(value)
        changes.add_item(job_id, int(index), value)


def fields_of(document: bytes) -> dict[str, Any]:
    """Return the members of a JSON object. Raises DecodeError when it is none."""
    try:
        fields = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the message is not JSON: {error}") from error
    if type(fields) is not dict:
        raise DecodeError("the message is not a JSON object")
    return fields


def _images_of(fields: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of images of a submission, and the pixels of those that were uploaded."""
    inputs = fields.get("inputs")
    images = [given for given in inputs if type(given) is dict] if type(inputs) is list else []
    known = (given.get("pixels") for given in images)
    pixels = (number for number in known if type(number) is int)
    return len(images), sum(min(max(number, 0), _MAX_COUNTED_PIXELS) for number in pixels)


def _check_header(
    operation: Any, priority: Any, created_at: Any, expires_at: Any, owner: Any
) -> None:
    """Raise DecodeError for values that the columns cannot take."""
    if type(operation) is not str:
        raise DecodeError("operation: not a string")
    # A tuple, not a set: the value may not be hashable.
    if priority not in _PRIORITIES:
        raise DecodeError(f"priority: none of {', '.join(_PRIORITIES)}")
    if type(created_at) is not str:
        raise DecodeError("created_at: not a string")
    if expires_at is not None and type(expires_at) is not str:
        raise DecodeError("expires_at: not a string")
    if owner is not None and type(owner) is not str:
        raise DecodeError("owner: not a string")
