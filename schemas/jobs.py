"""Jobs and items: what was asked for, how far it is, and the words for both."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ErrorCode, JobError
from schemas.times import Timestamp

# Without a slash: "job id/index" is the key of an item.
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
# The end of a job with this many items fits in one message, if need be shortened: shortening.py.
MAX_ITEMS = 2_000


class Frozen(BaseModel):
    """Base of everything on the wire: immutable; unknown fields of newer writers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def trusted(cls, **fields: Any) -> Self:
        """An instance of values that are known to be right, unchecked; the rest are defaults.

        As pydantic's model_construct, in a fifth of the time: a job makes ten of these.
        """
        return _bare(cls, {**_defaults(cls), **fields})

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """An instance of all its fields' values, unchecked, as `trusted`; it keeps the dict."""
        return _bare(cls, values)

    def evolve(self, **changes: Any) -> Self:
        """A copy with some fields changed; unchecked, as `trusted`."""
        return _bare(type(self), {**self.__dict__, **changes})


def _bare(model: type[Any], values: dict[str, Any]) -> Any:
    made = model.__new__(model)
    _set_slot(made, "__dict__", values)
    _set_slot(made, "__pydantic_fields_set__", _fields(model))
    _set_slot(made, "__pydantic_extra__", None)
    _set_slot(made, "__pydantic_private__", None)
    return made


_set_slot = object.__setattr__


@cache
def _fields(model: type[BaseModel]) -> set[str]:
    # Shared by all instances: they are frozen, so nothing changes it.
    return set(model.model_fields)


@cache
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    # In the order of the fields, the required ones too: so the JSON has them in that order.
    return {
        name: None if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
    }


class JobStatus(StrEnum):
    """The state of a job, and of an item in it."""

    QUEUED = "queued"
    """In the log, no item has started (or the item waits for its next attempt)."""
    RUNNING = "running"
    """At least one item has started or ended, not all have ended."""
    SUCCEEDED = "succeeded"
    """Ended: every item ended and at least one succeeded."""
    FAILED = "failed"
    """Ended: every item failed."""
    CANCELLED = "cancelled"
    """Ended by a cancel request that came before the last item's end."""

    @property
    def ended(self) -> bool:
        """Whether this state is final."""
        return self in _ENDED


_ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Priority(StrEnum):
    """The three queues, first to last."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Step(Frozen):
    """One operation of a job and its params; a pipeline has several."""

    operation: str
    params: dict[str, Any] = Field(default_factory=dict)


class ItemInput(Frozen):
    """Where an item's image is: an object key of the store, or a URL to fetch."""

    filename: str | None = None
    key: str | None = None
    url: str | None = None
    content_type: str | None = None
    bytes: int | None = None
    sha256: str | None = None


class Webhook(Frozen):
    """Where to post a job's events; `style` names the dialect whose body is posted."""

    url: str
    events: tuple[str, ...] = ("job.finished",)
    style: str | None = None


class Job(Frozen):
    """What was asked for, without the inputs: it never changes while the job lives."""

    job_id: JobId
    operation: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    pipeline: tuple[Step, ...] = ()
    priority: Priority = Priority.NORMAL
    total: int = Field(0, ge=0, le=MAX_ITEMS)
    created_at: Timestamp = ""
    webhook: Webhook | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    template: str | None = None
    dialect: str | None = None
    expires_at: Timestamp | None = None
    traceparent: str | None = None
    # Digest of what was asked for, where a repeat must be told from another request of that id.
    fingerprint: str | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """The operations to run, in order."""
        return self.pipeline or (Step(operation=self.operation, params=self.params),)


class Item(Frozen):
    """One image of a job and what became of it."""

    index: int
    filename: str | None = None
    status: JobStatus = JobStatus.QUEUED
    attempts: int = 0
    result: dict[str, Any] | None = None
    error: JobError | None = None
    timings_ms: dict[str, float] = Field(default_factory=dict)
    started_at: str | None = None
    finished_at: str | None = None
    model: dict[str, Any] | None = None


class Progress(Frozen):
    """Counts of a job's items; `processed` includes `failed`."""

    total: int
    processed: int
    failed: int


# One letter an item in JobState.outcomes: a batch's whole progress is one short string, so that
# the state of a running batch is written again and again without its items.
LETTERS = {
    JobStatus.QUEUED: ".",
    JobStatus.RUNNING: "r",
    JobStatus.SUCCEEDED: "s",
    JobStatus.FAILED: "f",
    JobStatus.CANCELLED: "c",
}
STATUS_OF_LETTER = {letter: status for status, letter in LETTERS.items()}


class JobState(Job):
    """A job's public state, as `jobs.state` holds it after each change.

    `items` is filled for jobs of one item and for ended jobs; the items of a running batch have
    records of their own (key "job id/index"), so that a batch of n items writes O(n) bytes in all.
    """

    revision: int = 0
    status: JobStatus = JobStatus.QUEUED
    outcomes: str = ""
    items: tuple[Item, ...] = ()
    error: JobError | None = None
    attempts: int = 0
    started_at: str | None = None
    finished_at: str | None = None
    model: dict[str, Any] | None = None

    @property
    def progress(self) -> Progress:
        """Counts over all items."""
        failed = self.outcomes.count("f")
        processed = self.outcomes.count("s") + failed
        return Progress.of({"total": self.total, "processed": processed, "failed": failed})


def item_key(job_id: str, index: int, total: int) -> str:
    """The message key of an item: the job's own for a job of one, else "job id/index"."""
    return job_id if total == 1 else f"{job_id}/{index}"


def cancelled_error() -> JobError:
    """The error a cancelled job carries."""
    return JobError.of(ErrorCode.CANCELLED, "The job was cancelled before it ended.")
