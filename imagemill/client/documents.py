"""Documents of the API as typed objects. Fields of a newer API are kept and accessible."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from schemas.jobs import JobStatus

_ENDED = frozenset(status.value for status in JobStatus if status.ended)


class Document(BaseModel):
    """A JSON object of the API; immutable."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class Error(Document):
    """Reason why a job or an item has no result."""

    code: str = Field(description="Reason for programs, such as image_undecodable.")
    error_class: str = Field(
        alias="class",
        description="Party that has to act: input, model, infrastructure or cancelled.",
    )
    message: str = Field(description="Reason as a sentence for people.")


class Item(Document):
    """One image of a job and its outcome."""

    index: int = Field(description="Place in the job, counted from 0.")
    filename: str | None = Field(None, description="Name of the input file; None if unknown.")
    status: str = Field(description="queued, running, succeeded, failed or cancelled.")
    attempts: int = Field(0, description="Attempts so far.")
    result: dict[str, Any] | None = Field(
        None, description="Result once it succeeded: key, content_type, bytes, width, height, data."
    )
    error: Error | None = Field(None, description="Reason why it has no result.")
    timings_ms: dict[str, float] = Field(
        default_factory=dict, description="Milliseconds spent in each phase of the last attempt."
    )
    links: dict[str, str] = Field(default_factory=dict, description="Paths of input and result.")


class Progress(Document):
    """Counts of a job's items."""

    total: int
    processed: int
    failed: int


class Job(Document):
    """A job as the API shows it."""

    id: str
    operation: str
    status: str = Field(description="queued, running, succeeded, failed or cancelled.")
    priority: str = "normal"
    params: dict[str, Any] = Field(default_factory=dict)
    progress: Progress
    items: tuple[Item, ...] = ()
    error: Error | None = None
    attempts: int = 0
    created_at: str = Field("", description="RFC 3339 in UTC.")
    started_at: str | None = None
    finished_at: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any] | None = None
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """True once the job has succeeded, failed or was cancelled."""
        return self.status in _ENDED

    @property
    def succeeded(self) -> bool:
        """True if the job has ended and at least one item has a result."""
        return self.status == JobStatus.SUCCEEDED.value


class JobEvent(Document):
    """A change of a job, as `events` yields it.

    `name` is `status`, `progress` or `finished`; `data` is the job's document, and for `progress`
    its id, status and progress alone.
    """

    id: str | None = None
    name: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The outcome of one image.

    Attributes:
        job: the ended job.
        item: its item.
        content: bytes of the picture; None for an operation that makes data alone.
        content_type: media type of the picture.
        data: JSON result, such as `{"predictions": […]}`; None for an operation without one.
    """

    job: Job
    item: Item
    content: bytes | None
    content_type: str | None
    data: Mapping[str, Any] | None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file, whole or not at all; return its path.

        Raises:
            ValueError: this operation made no picture.
            OSError: the file cannot be written.
        """
        if self.content is None:
            raise ValueError(f"{self.job.operation} made no picture; read .data")
        target = Path(path)
        # A reader of the folder, or a run that was interrupted, never finds half a picture.
        number, unfinished = tempfile.mkstemp(prefix=".", suffix=target.suffix, dir=target.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(self.content)
            os.chmod(unfinished, 0o666 & ~_umask())
            os.replace(unfinished, target)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        return target


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
