"""What cannot be processed goes to the dead-letter topic, with the reason in its headers."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from pydantic import ValidationError

from processor.admission import Entry
from processor.outbox import Delivery, Outbox
from schemas import codec
from schemas.codec import Encoded
from schemas.errors import ErrorCode, JobError
from schemas.events import ItemFailed, JobSubmitted
from schemas.jobs import JobHeader
from schemas.times import now
from schemas.topics import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

_MAX_REASON_CHARS = 1000
_MAX_KEY_BYTES = 1000
# With the headers that are added, and a length for each: there may be many.
_MAX_LETTER_BYTES = MAX_MESSAGE_BYTES - (32 << 10)
_MAX_HEADER_BYTES = 64 << 10


async def dead_letter(outbox: Outbox, topic: str, entry: Entry, reason: str) -> Delivery:
    """Send the entry's message, unchanged, to the dead-letter topic.

    Headers added: imagemill-source-topic, -partition, -offset and -error. One that is too large
    with them goes without its value and its own headers, and says so (imagemill-omitted).
    """
    message, reason = entry.message, reason[:_MAX_REASON_CHARS]
    log.error("%s-%d@%d: %s", entry.tp.topic, entry.tp.partition, message.offset, reason)
    key, value, headers = message.key, message.value, list(message.headers or ())
    size = len(key or b"") + len(value or b"")
    size += sum(len(name.encode()) + len(text or b"") for name, text in headers)
    if size > _MAX_LETTER_BYTES:
        key = key if len(key or b"") <= _MAX_KEY_BYTES else None
        value, headers = b"", [("imagemill-omitted", f"{size} bytes".encode())]
    headers += [
        ("imagemill-source-topic", entry.tp.topic.encode()),
        ("imagemill-source-partition", str(entry.tp.partition).encode()),
        ("imagemill-source-offset", str(message.offset).encode()),
        ("imagemill-error", reason.encode()),
    ]
    # The client refuses a message with neither key nor value.
    value = b"" if key is None and value is None else value
    return await outbox.send(topic, key, Encoded(value, headers), None)


def unreadable_job(message: Any, reason: str) -> ItemFailed | None:
    """The end of the job that a submission names which cannot be read as a whole.

    Readers that look at less of it show that job as queued, and nothing else would ever end it.
    None where the message names no job, or another one than its key.
    """
    try:
        if codec.event_type(message.headers) != JobSubmitted.TYPE:
            return None
        job = _header(orjson.loads(message.value or b""))
    except (codec.DecodeError, orjson.JSONDecodeError, ValidationError):
        return None
    if job.job_id.encode() != message.key:
        return None
    error = JobError.of(ErrorCode.PARAMS_INVALID, f"The job cannot be read: {reason}.")
    return ItemFailed.trusted(
        job_id=job.job_id, job=job, index=0, at=now(), attempt=1, error=error, timings_ms={}
    )


def _header(submission: Any) -> JobHeader:
    """What can be read of it, as a job of one item. Raises ValidationError without an id."""
    fields = submission if isinstance(submission, dict) else {}
    bare = {"total": 1, "params": {}, "pipeline": (), "metadata": {}}
    try:
        header = JobHeader.model_validate(fields | bare)
        if len(header.model_dump_json()) <= _MAX_HEADER_BYTES:
            return header
    except ValidationError as exc:
        log.debug("only the id of the job can be read: %s", exc)
    return JobHeader.model_validate({"job_id": fields.get("job_id"), "total": 1})
