"""The row that a job's message is filed as, made without reading more of it than that takes.

The message itself is kept as it came and checked in full when somebody reads the job: to check all
of every message would take five times as long, and a rebuild reads millions. What goes into a
column is checked here, since anyone may write to a topic: no value may stop the file from being
written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from schemas.codec import DecodeError
from schemas.jobs import JobStatus, Priority

_PRIORITIES = tuple(priority.value for priority in Priority)
_STATUSES = tuple(status.value for status in JobStatus)
_ENDED = tuple(status.value for status in JobStatus if status.ended)
# The largest integer of a column.
_MAX_REVISION = 2**63 - 1


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

    @classmethod
    def of_submission(cls, document: bytes) -> JobRow:
        """The row of a submission. Raises DecodeError."""
        fields = fields_of(document)
        header = _header(fields)
        job_id = fields.get("job_id")
        if type(job_id) is not str:
            raise DecodeError("job_id: not a string")
        return cls(job_id, 0, "queued", None, None, *header, document)

    @classmethod
    def of_state(cls, job_id: str, document: bytes) -> JobRow:
        """The row of a state under the key of that job. Raises DecodeError."""
        fields = fields_of(document)
        header = _header(fields)
        if fields.get("job_id") != job_id:
            raise DecodeError(f"the state of {fields.get('job_id')!r} under the key {job_id}")
        revision, status = fields.get("revision"), fields.get("status")
        if type(revision) is not int or not 0 <= revision <= _MAX_REVISION:
            raise DecodeError("revision: not a number that counts up")
        if status not in _STATUSES:
            raise DecodeError("status: none that a job can have")
        ended_at = fields.get("finished_at") if status in _ENDED else None
        if ended_at is not None and type(ended_at) is not str:
            raise DecodeError("finished_at: not a string")
        return cls(job_id, revision, status, ended_at, document, *header, None)

    def merged(self, other: JobRow) -> JobRow:
        """What this row, the earlier read, and another of the same job tell together.

        The later revision counts, but a state may come before its submission, and then may not
        know yet what was asked for. The store does the same with the row that it holds.
        """
        state, old = (other, self) if other.revision > self.revision else (self, other)
        header = state if state.created_at else old
        return JobRow._make((*state[:5], *header[5:9], self.submitted or other.submitted))


def fields_of(document: bytes) -> dict[str, Any]:
    """The fields of a JSON object. Raises DecodeError when it is none."""
    try:
        fields = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the message is no JSON: {error}") from error
    if type(fields) is not dict:
        raise DecodeError("the message is no JSON object")
    return fields


def _header(fields: dict[str, Any]) -> tuple[str, str, str, str | None]:
    """Operation, priority, creation and expiry. Raises DecodeError."""
    operation = fields.get("operation", "")
    # Compared one by one: what came may be no string, and not even hashable.
    priority = fields.get("priority", "normal")
    created_at = fields.get("created_at", "")
    expires_at = fields.get("expires_at")
    if type(operation) is not str:
        raise DecodeError("operation: not a string")
    if priority not in _PRIORITIES:
        raise DecodeError("priority: none of the three")
    if type(created_at) is not str:
        raise DecodeError("created_at: not a string")
    if expires_at is not None and type(expires_at) is not str:
        raise DecodeError("expires_at: not a string")
    return operation, priority, created_at, expires_at
