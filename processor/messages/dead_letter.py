"""Pure parts of guarantee 5: the dead letter of a message, and the item that the message fails."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import orjson
from pydantic import Field, ValidationError

from processor.messages.admission import AdmittedMessage
from schemas import cloudevents
from schemas.cloudevents import Encoded
from schemas.errors import ErrorCode, JobError
from schemas.events import MAX_ATTEMPTS, ItemFailed, ItemQueued, JobSubmitted
from schemas.jobs import MAX_ITEMS, Frozen, Job, JobId
from schemas.times import now
from schemas.topics import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 1000
_MAX_KEY_BYTES = 1000
# Key, value and headers of the source. The rest is for the headers added here, and for a length
# field beside each header: there may be many.
_MAX_LETTER_BYTES = MAX_MESSAGE_BYTES - (32 << 10)
# JSON of the job that an undecodable submission fails: it is repeated in the job's state.
_MAX_JOB_BYTES = 64 << 10


def letter_of(admitted: AdmittedMessage, reason: str) -> tuple[bytes | None, Encoded]:
    """Make the dead letter of a message: its key, and the message unchanged but for its headers.

    Headers added: imagemill-source-topic, -partition, -offset and -error. A message that is too
    large with them goes without its value and its own headers, and imagemill-omitted says how
    many bytes it had.
    """
    message, reason = admitted.message, reason[:MAX_REASON_CHARS]
    key, value, headers = message.key, message.value, list(message.headers or ())
    size = len(key or b"") + len(value or b"")
    size += sum(len(name.encode()) + len(text or b"") for name, text in headers)
    if size > _MAX_LETTER_BYTES:
        key = key if len(key or b"") <= _MAX_KEY_BYTES else None
        value, headers = b"", [("imagemill-omitted", f"{size} bytes".encode())]
    headers += [
        ("imagemill-source-topic", admitted.tp.topic.encode()),
        ("imagemill-source-partition", str(admitted.tp.partition).encode()),
        ("imagemill-source-offset", str(message.offset).encode()),
        ("imagemill-error", reason.encode()),
    ]
    # The client refuses a message with neither key nor value.
    value = b"" if key is None and value is None else value
    return key, Encoded(value, headers)


def failed_by(message: Any, reason: str) -> ItemFailed | None:
    """Make the failure of the job or item that an undecodable message is about.

    Readers that decode less of the message show that job or item as queued, and nothing else
    would ever end it. None where the message does not identify it beyond doubt.
    """
    try:
        kind = cloudevents.event_type(message.headers)
    except cloudevents.DecodeError:
        return None
    if kind == JobSubmitted.TYPE:
        return _failed_job(message, reason)
    return _failed_item(message, reason) if kind == ItemQueued.TYPE else None


def _failed_job(message: Any, reason: str) -> ItemFailed | None:
    try:
        job = _header(_fields(message.value))
    except ValidationError:
        return None
    if job.job_id.encode() != message.key:
        return None
    error = JobError.of(ErrorCode.PARAMS_INVALID, f"The job cannot be read: {reason}.")
    return ItemFailed.trusted(
        job_id=job.job_id, job=job, index=0, at=now(), attempt=1, error=error, timings_ms={}
    )


def _failed_item(message: Any, reason: str) -> ItemFailed | None:
    """Identify the item by message key, "job id/index", or fields; None if they disagree."""
    fields = _fields(message.value)
    by_key = (message.key or b"").decode(errors="replace").partition("/")
    places = set()
    for job_id, index in ((by_key[0], by_key[2]), (fields.get("job_id"), fields.get("index"))):
        with suppress(ValidationError):
            places.add(_Place(job_id=job_id, index=index))
    if len(places) != 1:
        return None
    place, attempt = places.pop(), fields.get("attempt")
    return ItemFailed.trusted(
        job_id=place.job_id,
        index=place.index,
        at=now(),
        attempt=attempt if isinstance(attempt, int) and 1 <= attempt <= MAX_ATTEMPTS else 1,
        error=JobError.of(ErrorCode.INTERNAL, f"The item cannot be read: {reason}."),
        timings_ms={},
    )


class _Place(Frozen):
    """An item of a job."""

    job_id: JobId
    index: int = Field(ge=0, lt=MAX_ITEMS)


def _fields(value: bytes | None) -> dict[str, Any]:
    """Decode a value as a JSON object; empty if it is none."""
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _header(fields: dict[str, Any]) -> Job:
    """Make a job of one item of the fields that are valid.

    Raises:
        ValidationError: there is no valid job id.
    """
    bare = {"total": 1, "params": {}, "pipeline": (), "metadata": {}}
    try:
        header = Job.model_validate(fields | bare)
        if len(header.model_dump_json()) <= _MAX_JOB_BYTES:
            return header
    except ValidationError as error:
        log.debug("only the id of the job is valid: %s", error)
    return Job.model_validate({"job_id": fields.get("job_id"), "total": 1})
