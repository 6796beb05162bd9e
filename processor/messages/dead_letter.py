"""What cannot be processed goes to the dead-letter topic, with the reason in its headers."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import orjson
from pydantic import Field, ValidationError

from processor.messages.admission import AdmittedMessage
from processor.messages.publisher import Delivery, Publisher, Topics
from schemas import cloudevents
from schemas.cloudevents import Encoded
from schemas.errors import ErrorCode, JobError
from schemas.events import MAX_ATTEMPTS, ItemFailed, ItemQueued, JobSubmitted
from schemas.jobs import MAX_ITEMS, Frozen, Job, JobId
from schemas.times import now
from schemas.topics import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

_MAX_REASON_CHARS = 1000
_MAX_KEY_BYTES = 1000
# With the headers that are added, and a length for each: there may be many.
_MAX_LETTER_BYTES = MAX_MESSAGE_BYTES - (32 << 10)
_MAX_HEADER_BYTES = 64 << 10


async def dead_letter(
    publisher: Publisher, topic: str, entry: AdmittedMessage, reason: str
) -> Delivery:
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
    return await publisher.send(topic, key, Encoded(value, headers), None)


async def refuse(
    publisher: Publisher,
    topics: Topics,
    source: str,
    entry: AdmittedMessage,
    reason: str,
    *,
    tried: bool = False,
) -> list[Delivery]:
    """Work that cannot be done goes to the dead letters; what is told by it to be waited for fails.

    Args:
        source: the CloudEvents source of this worker.
        tried: it could be read, but not done. What could not be read may be anybody's: it fails
            only what is not known to go on without it, see ItemFailed.
    """
    deliveries = [await dead_letter(publisher, topics.dead_letter, entry, reason)]
    failed = failed_by(entry.message, reason)
    if failed is not None:
        fact = cloudevents.encode(failed.evolve(unreadable=not tried), source)
        # Others may have put it on any partition: the producer finds the job's.
        deliveries.append(await publisher.send(topics.events, failed.job_id.encode(), fact, None))
    return deliveries


def failed_by(message: Any, reason: str) -> ItemFailed | None:
    """The end of what waits for the work in a message that cannot be read as a whole.

    Readers that look at less of it show that as queued, and nothing else would ever end it.
    None where the message does not tell for certain what that is.
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
    """By its key, "job id/index", or by its fields, if they do not tell of two."""
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
    """What of a value can be read; nothing if it is no JSON object."""
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _header(fields: dict[str, Any]) -> Job:
    """What can be read of it, as a job of one item. Raises ValidationError without an id."""
    bare = {"total": 1, "params": {}, "pipeline": (), "metadata": {}}
    try:
        header = Job.model_validate(fields | bare)
        if len(header.model_dump_json()) <= _MAX_HEADER_BYTES:
            return header
    except ValidationError as error:
        log.debug("only the id of the job can be read: %s", error)
    return Job.model_validate({"job_id": fields.get("job_id"), "total": 1})
