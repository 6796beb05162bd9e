"""The row that a job's message is filed as, made without reading more of it than that takes.

The message itself is kept as it came and checked in full when somebody reads the job: to check all
of every message would take five times as long, and a rebuild reads millions. What goes into a
column is checked here, since anyone may write to a topic: no value may stop the file from being
written.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from schemas.cloudevents import DecodeError
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
        get = fields_of(document).get
        job_id, operation, created_at = get("job_id"), get("operation", ""), get("created_at", "")
        priority, expires_at = get("priority", "normal"), get("expires_at")
        if type(job_id) is not str:
            raise DecodeError("job_id: not a string")
        _check_header(operation, priority, created_at, expires_at)
        return cls(
            job_id, 0, "queued", None, None, operation, priority, created_at, expires_at, document
        )

    @classmethod
    def of_state(cls, job_id: str, document: bytes) -> JobRow:
        """The row of a state under the key of that job. Raises DecodeError."""
        get = fields_of(document).get
        operation, created_at = get("operation", ""), get("created_at", "")
        priority, expires_at = get("priority", "normal"), get("expires_at")
        revision, status, ended_at = get("revision"), get("status"), get("finished_at")
        if get("job_id") != job_id:
            raise DecodeError(f"the state of {get('job_id')!r} under the key {job_id}")
        _check_header(operation, priority, created_at, expires_at)
        if type(revision) is not int or not 0 <= revision <= _MAX_REVISION:
            raise DecodeError("revision: not a number that counts up")
        if status not in _STATUSES:
            raise DecodeError("status: none that a job can have")
        if status not in _ENDED:
            ended_at = None
        elif ended_at is not None and type(ended_at) is not str:
            raise DecodeError("finished_at: not a string")
        return cls(
            job_id, revision, status, ended_at, document,
            operation, priority, created_at, expires_at, None,
        )  # fmt: skip

    def merged(self, other: JobRow) -> JobRow:
        """What this row, the earlier read, and another of the same job tell together.

        The later revision counts, but a state may come before its submission, and then may not
        know yet what was asked for. The store does the same with the row that it holds.
        """
        state, old = (other, self) if other.revision > self.revision else (self, other)
        header = state if state.created_at else old
        submitted = self.submitted or other.submitted
        return JobRow._make((*state[:5], *header[5:9], submitted))


def fields_of(document: bytes) -> dict[str, Any]:
    """The fields of a JSON object. Raises DecodeError when it is none."""
    try:
        fields = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the message is no JSON: {error}") from error
    if type(fields) is not dict:
        raise DecodeError("the message is no JSON object")
    return fields


def _check_header(operation: Any, priority: Any, created_at: Any, expires_at: Any) -> None:
    """Raises DecodeError. `priority` is compared one by one: it may not even be hashable."""
    if type(operation) is not str:
        raise DecodeError("operation: not a string")
    if priority not in _PRIORITIES:
        raise DecodeError("priority: none of the three")
    if type(created_at) is not str:
        raise DecodeError("created_at: not a string")
    if expires_at is not None and type(expires_at) is not str:
        raise DecodeError("expires_at: not a string")
