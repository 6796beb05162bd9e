"""The JSON documents that the native API answers with, as models for its documentation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import JobError
from schemas.jobs import JobStatus, Priority, Progress
from schemas.workers import KnownModel


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemDocument(_Document):
    """One image of a job and what became of it."""

    index: int
    filename: str | None
    status: JobStatus
    attempts: int
    result: dict[str, Any] | None = Field(
        description="key, url, content_type, bytes, width, height and sha256 of the picture, and "
        "`data`, the JSON result"
    )
    error: JobError | None
    timings_ms: dict[str, float]
    links: dict[str, str]


class JobDocument(_Document):
    """A job."""

    id: str
    operation: str
    params: dict[str, Any]
    operations: list[dict[str, Any]] = Field(default=[], description="the steps of a pipeline")
    priority: Priority
    status: JobStatus
    progress: Progress
    items: list[ItemDocument]
    error: JobError | None
    attempts: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    metadata: dict[str, Any]
    model: dict[str, Any] | None
    template: str | None = None
    dialect: str | None = None
    expires_at: str | None = None
    links: dict[str, str]


class JobList(_Document):
    """A page of jobs, newest first."""

    jobs: list[JobDocument]
    next_cursor: str | None = Field(description="where the next page begins; null on the last one")


class UploadDocument(_Document):
    """Where to send an image, and how to name it in a job's inputs afterwards."""

    upload_id: str
    url: str
    method: str
    headers: dict[str, str]
    max_bytes: int
    expires_at: str


class OperationDocument(_Document):
    """An operation and the JSON Schema of its params."""

    name: str
    summary: str
    inputs: str
    params: dict[str, Any]


class ModelDocument(KnownModel):
    """A model, and the workers that have its file."""

    workers: list[str]


class ModelList(_Document):
    """Every model that a living worker knows."""

    models: list[ModelDocument]


class OperationList(_Document):
    """All operations."""

    operations: list[OperationDocument]


class ProblemDocument(BaseModel):
    """Why a request was not done (RFC 9457); `code` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = Field(default=[], description="the fields that do not fit")


class AnyDocument(BaseModel):
    """A JSON object; its members are told in the documentation."""

    model_config = ConfigDict(extra="allow")
