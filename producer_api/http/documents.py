"""JSON documents of the native API's answers, other than jobs, for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from producer_api.http.job_documents import Document, JobDocument
from schemas.workers import KnownModel


class JobList(Document):
    """A page of jobs, newest first."""

    jobs: list[JobDocument] = Field(description="jobs that match the filters, newest first")
    next_cursor: str | None = Field(description="cursor of the next page; null on the last one")


class UploadDocument(Document):
    """A URL to send an image to, and the id that names it in a job's inputs."""

    upload_id: str = Field(description="id of the upload, for `inputs[].upload_id` of a job")
    url: str = Field(description="URL to send the image to, signed for this one upload")
    method: str = Field(description="HTTP method to send it with: PUT")
    headers: dict[str, str] = Field(description="headers that the request must have")
    max_bytes: int = Field(
        ge=1, description="largest size of the image in bytes; the only one if it was announced"
    )
    expires_at: str = Field(description="time at which the URL ends, RFC 3339 in UTC")


class OperationDocument(Document):
    """An operation and the JSON Schema of its params."""

    name: str = Field(description="name of the operation, for `operation` of a job")
    summary: str = Field(description="sentence on what it does, for people")
    inputs: str = Field(description="`image` if each item needs one, `none` if it takes none")
    params: dict[str, Any] = Field(description="JSON Schema of its params")


class ModelDocument(KnownModel):
    """A model, and the workers that have its file."""

    workers: list[str] = Field(description="ids of the living workers that have its file")


class ModelList(Document):
    """Every model that a living worker knows."""

    models: list[ModelDocument] = Field(description="models by name")


class OperationList(Document):
    """All operations."""

    operations: list[OperationDocument] = Field(description="operations by name")


class ProblemDocument(BaseModel):
    """The reason why a request failed (RFC 9457): `code` for programs, `detail` for people."""

    type: str = Field(description="URI of the kind: `urn:imagemill:problem:` and the code")
    title: str = Field(description="name of the status, as in RFC 9110")
    status: int = Field(ge=400, le=599, description="HTTP status code")
    code: str = Field(description="code of the problem, for programs")
    detail: str = Field(description="sentence that says what is wrong and what to do")
    errors: list[dict[str, str]] = Field(
        default=[], description="fields that are not valid, each with a message"
    )


class AnyDocument(BaseModel):
    """A JSON object with any members."""

    model_config = ConfigDict(extra="allow")
