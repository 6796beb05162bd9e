"""The JSON documents that the native API answers with, as models for its documentation."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from producer_api.http.job_documents import Document, JobDocument
from schemas.workers import KnownModel


class JobList(Document):
    """A page of jobs, newest first."""

    jobs: list[JobDocument]
    next_cursor: str | None = Field(description="where the next page begins; null on the last one")


class UploadDocument(Document):
    """Where to send an image, and how to name it in a job's inputs afterwards."""

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
