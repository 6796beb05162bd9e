"""Jobs as the native API shows them: each document is served exactly as it is documented."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from imagemill.storage import ObjectUrls
from producer_api.read_model.records import JobRecord
from schemas.errors import JobError
from schemas.jobs import Item, ItemInput, JobState, JobStatus, Priority, Progress

# Fields of JobState that have another name in a document, or are of use to imagemill alone.
_NOT_SHOWN = frozenset(
    {
        "job_id", "pipeline", "total", "webhook", "traceparent", "fingerprint", "revision",
        "outcomes", "weight",
    }
)  # fmt: skip


def shown(model: type[BaseModel], name: str) -> Any:
    """Declare a field as it is described in `schemas`, but always present."""
    field = copy(model.model_fields[name])
    field.default, field.default_factory = ..., None
    return field


class Document(BaseModel):
    """A JSON object that the API answers with."""

    model_config = ConfigDict(extra="forbid")


class ItemDocument(Document):
    """One image of a job and its outcome."""

    index: int = shown(Item, "index")
    filename: str | None = shown(Item, "filename")
    status: JobStatus = shown(Item, "status")
    attempts: int = shown(Item, "attempts")
    result: dict[str, Any] | None = shown(Item, "result")
    error: JobError | None = shown(Item, "error")
    timings_ms: dict[str, float] = shown(Item, "timings_ms")
    links: dict[str, str] = Field(
        description="Paths of the item's `input` and `result`, where the API has them."
    )

    @classmethod
    def all_of(cls, record: JobRecord, urls: ObjectUrls | None = None) -> list[dict[str, Any]]:
        """Make the documents of a job's items, as JSON values; `urls` renews those of results."""
        path = f"/v1/jobs/{record.state.job_id}/items/"
        inputs, known_inputs = record.inputs, len(record.inputs)
        documents = []
        # A batch has up to 2000 items, and its document is read again and again while it runs.
        for item in record.items:
            values = item.__dict__
            document = {name: values[name] for name in _ITEM_FIELDS}
            given = inputs[item.index] if item.index < known_inputs else _NO_INPUT
            if document["filename"] is None:
                document["filename"] = given.filename
            if document["error"] is not None:
                document["error"] = _error(item.error)
            links = {}
            if given.key is not None:
                links["input"] = f"{path}{item.index}/input"
            if document["result"] is not None:
                links["result"] = f"{path}{item.index}/result"
                if urls is not None:
                    document["result"] = urls.renewed(document["result"])
            document["links"] = links
            documents.append(document)
        return documents


_NO_INPUT = ItemInput()
_ITEM_FIELDS = tuple(name for name in ItemDocument.model_fields if name in Item.model_fields)


class _JobFields(Document):
    """A job: what was asked for, how far it is, and its items."""

    id: str = shown(JobState, "job_id")
    operation: str = shown(JobState, "operation")
    params: dict[str, Any] = shown(JobState, "params")
    priority: Priority = shown(JobState, "priority")
    status: JobStatus = shown(JobState, "status")
    progress: Progress = Field(description="Counts of the job's items.")
    items: list[ItemDocument] = Field(description="All items, in order.")
    error: JobError | None = shown(JobState, "error")
    attempts: int = shown(JobState, "attempts")
    created_at: str = shown(JobState, "created_at")
    started_at: str | None = shown(JobState, "started_at")
    finished_at: str | None = Field(
        description="End of the job, RFC 3339 in UTC; null until it ended."
    )
    metadata: dict[str, Any] = shown(JobState, "metadata")
    model: dict[str, Any] | None = shown(JobState, "model")
    links: dict[str, str] = Field(description="Paths of the job itself, `events` and `cancel`.")
    operations: list[dict[str, Any]] = Field(
        default=[], description="Operations of a pipeline with their params; left out for one alone"
    )

    @classmethod
    def of(cls, record: JobRecord, urls: ObjectUrls | None = None) -> dict[str, Any]:
        """Make the document of a job, as JSON values; optional fields only where they are set.

        `urls` renews the URLs of results, which may have expired since they were signed.
        """
        known = record.state.__dict__
        document = {
            name: known[name] if derive is None else derive(record, urls)
            for name, derive in _ALWAYS_SHOWN
        }
        if record.state.pipeline:
            document["operations"] = [
                step.model_dump(mode="json") for step in record.state.pipeline
            ]
        for name, default in _SHOWN_IF_SET:
            if known[name] != default:
                document[name] = known[name]
        return document


# A field of the job that is not declared above shows itself here: a new one needs no line.
_OPTIONAL = {
    name: (field.annotation, field)
    for name, field in JobState.model_fields.items()
    if name not in _JobFields.model_fields and name not in _NOT_SHOWN
}
JobDocument = create_model(
    "JobDocument", __base__=_JobFields, __doc__=_JobFields.__doc__, **_OPTIONAL
)

_DERIVED: dict[str, Callable[[JobRecord, ObjectUrls | None], Any]] = {
    "id": lambda record, _: record.state.job_id,
    "progress": lambda record, _: record.state.progress.__dict__,
    "items": ItemDocument.all_of,
    "error": lambda record, _: _error(record.state.error) if record.state.error else None,
    # While items run it is the latest end of any, which says nothing about the job.
    "finished_at": lambda record, _: (
        record.state.finished_at if record.state.status.ended else None
    ),
    "links": lambda record, _: _links(record.state.job_id),
}
_ALWAYS_SHOWN = tuple(
    (name, _DERIVED.get(name))
    for name, field in _JobFields.model_fields.items()
    if field.is_required()
)
_SHOWN_IF_SET = tuple(
    (name, field.get_default(call_default_factory=True)) for name, (_, field) in _OPTIONAL.items()
)


def _links(job_id: str) -> dict[str, str]:
    path = f"/v1/jobs/{job_id}"
    return {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"}


def _error(error: JobError) -> dict[str, str]:
    return error.model_dump(mode="json")
