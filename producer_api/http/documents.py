"""JSON documents of the native API's answers, other than jobs, for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from producer_api.http.job_documents import Document, JobDocument
from schemas.workers import KnownModel


class JobList(Document):
    """A page of jobs, newest first."""

    jobs: list[JobDocument]
    next_cursor: str | None = Field(description="cursor of the next page; null on the last one")


class UploadDocument(Document):
    """A URL to send an image to, and the id that names it in a job's inputs."""

    upload_id: str
    url: str
    method: str
    headers: dict[str, str]
    max_bytes: int
    expires_at: str


class OperationDocument(Document):
    """An operation and the JSON Schema of its params."""

    name: str
    summary: str
    inputs: str
    params: dict[str, Any]


class ModelDocument(KnownModel):
    """A model, and the workers that have its file."""

    workers: list[str]


class ModelList(Document):
    """Every model that a living worker knows."""

    models: list[ModelDocument]


class OperationList(Document):
    """All operations."""

    operations: list[OperationDocument]


class ProblemDocument(BaseModel):
    """The reason why a request failed (RFC 9457): `code` for programs, `detail` for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = Field(
        default=[], description="fields that are not valid, each with a message"
    )


class AnyDocument(BaseModel):
    """A JSON object with any members."""

    model_config = ConfigDict(extra="allow")
