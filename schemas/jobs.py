"""Jobs and items: the request, its state, and the fields that its terminal event shows.

A new field of a job is declared here, once: in `Job` if a client asks for it, in `JobState` if the
processor finds it out, and in `FinishedJob` if readers of `jobs.results` get it too.
"""

from __future__ import annotations

from copy import copy
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from schemas.base import Frozen
from schemas.errors import ErrorCode, JobError
from schemas.times import Timestamp

# Any id on the topics. Without a slash, since "job id/index" is the message key of an item.
JOB_ID = r"^[A-Za-z0-9._-]{1,128}$"
# Ids that an HTTP client may choose, UUIDs included. Narrower, since they are also path segments
# and file names, and long enough that two clients do not choose the same by accident.
CLIENT_JOB_ID = r"^[A-Za-z0-9_-]{8,64}$"
JobId = Annotated[str, Field(pattern=JOB_ID)]
# The terminal event of a job with this many items fits in one message, if need be truncated: see
# truncation.py.
MAX_ITEMS = 2_000
# Far above any setting: others may publish events with numbers of thousands of digits.
MAX_ATTEMPTS = 1_000_000
# The largest share of one owner beside one of weight 1.
MAX_WEIGHT = 100


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
        """True if this state is final."""
        return self in _ENDED


_ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Priority(StrEnum):
    """The three queues, first to last."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class WebhookEvent(StrEnum):
    """The type of an event that can be posted to webhooks."""

    STARTED = "job.started"
    """The first item was seen to run."""
    PROGRESS = "job.progress"
    """More items of a running batch have ended."""
    FINISHED = "job.finished"
    """The job has ended: succeeded, failed or cancelled."""
    FAILED = "job.failed"
    """The job has ended with status failed; posted beside job.finished."""
    ENDPOINT_DISABLED = "endpoint.disabled"
    """The notifier has disabled another endpoint of the same owner."""


# Types that are about a job, which its own webhook can ask for.
JOB_EVENTS = tuple(event for event in WebhookEvent if event.startswith("job."))
# Of these, the ones that its end causes.
ENDING_EVENTS = (WebhookEvent.FINISHED, WebhookEvent.FAILED)


class WebhookStyle(StrEnum):
    """A body that a dialect's clients expect instead of the standard one."""

    BACKGROUND_REMOVAL = "background_removal"
    """The entry that `GET /get_result` lists for the job."""


class Step(Frozen):
    """One operation of a job and its params; a pipeline has several."""

    operation: str = Field(description="Name of the operation, as `GET /v1/operations` lists it.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Params of the operation; those left out are defaults."
    )


class ItemInput(Frozen):
    """The place of an item's image: an object key of the store, or a URL to fetch."""

    filename: str | None = Field(
        None, description="Name of the file as the client gave it, for people; null if unknown."
    )
    key: str | None = Field(
        None, description="Key of the image in the object store; null for a URL."
    )
    url: str | None = Field(
        None, description="http or https URL that the worker fetches; null for a stored image."
    )
    content_type: str | None = Field(
        None, description="Media type that the API found in a stored image, such as image/png."
    )
    bytes: int | None = Field(None, description="Size of a stored image in bytes.")
    sha256: str | None = Field(
        None, description="SHA-256 of a stored image, 64 hexadecimal digits."
    )
    pixels: int | None = Field(
        None,
        ge=0,
        description=(
            "Pixels of a stored image, width times height, which daily quotas count; null for a "
            "URL."
        ),
    )


# A list of webhook events: a job of a newer writer may name one that this version never posts.
WebhookEvents = tuple[Annotated[WebhookEvent | str, Field(union_mode="left_to_right")], ...]
_WebhookStyle = Annotated[WebhookStyle | str, Field(union_mode="left_to_right")]


class Webhook(Frozen):
    """The URL to post a job's events to."""

    url: str = Field(description="Absolute http or https URL that gets a POST for each event.")
    events: WebhookEvents = Field(
        (WebhookEvent.FINISHED,), description="Events to post; unknown ones are never posted."
    )
    style: _WebhookStyle | None = Field(
        None, description="Dialect whose body is posted; null posts the standard body."
    )


class Job(Frozen):
    """The request of a client without its inputs; it never changes while the job lives."""

    job_id: JobId = Field(description="Id of the job: 1 to 128 letters, digits, `.`, `_` and `-`.")
    operation: str = Field(
        "", description="Name of the operation; `pipeline` for a job of several operations."
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Params of the operation; those left out are defaults. Empty for a pipeline.",
    )
    pipeline: tuple[Step, ...] = Field(
        (), description="Operations to run one after the other on each image; empty for one alone."
    )
    priority: Priority = Field(
        Priority.NORMAL, description="Queue that the job waits in; higher queues are served first."
    )
    total: int = Field(
        0,
        ge=0,
        le=MAX_ITEMS,
        description=f"Number of items, 1 to {MAX_ITEMS}; 0 while the request is unknown.",
    )
    created_at: Timestamp = Field(
        "", description="Time at which the job was accepted, RFC 3339 in UTC; empty if unknown."
    )
    webhook: Webhook | None = Field(
        None, description="URL to post the job's events to; null posts none."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="JSON of the client's own, kept and given back unread."
    )
    template: str | None = Field(
        None, description="Name of the template that the request was made from; null for none."
    )
    dialect: str | None = Field(
        None, description="Dialect that the request came through; null for the native API."
    )
    expires_at: Timestamp | None = Field(
        None,
        description=(
            "Time after which the ended job and its files may be deleted, RFC 3339 in UTC; null "
            "leaves it to the retention setting."
        ),
    )
    traceparent: str | None = Field(
        None, description="W3C trace context of the request; null if it had none."
    )
    owner: str | None = Field(
        None,
        description=(
            "Account of the key or token that the job was submitted with; null where none is asked "
            "for."
        ),
    )
    weight: int = Field(
        1,
        ge=1,
        le=MAX_WEIGHT,
        description=(
            f"Share of the workers' time that the owner's jobs get beside other owners' jobs of "
            f"the same priority, 1 to {MAX_WEIGHT}."
        ),
    )
    fingerprint: str | None = Field(
        None,
        description=(
            "SHA-256 of the request where the client chose its id or key, by which a repeat is "
            "distinguished from another request; null otherwise."
        ),
    )

    @property
    def steps(self) -> tuple[Step, ...]:
        """The operations to run, in order."""
        return self.pipeline or (Step(operation=self.operation, params=self.params),)


class Item(Frozen):
    """One image of a job and its outcome."""

    index: int = Field(
        ge=0, lt=MAX_ITEMS, description="Place of the item in the job, counted from 0."
    )
    filename: str | None = Field(
        None, description="Name of the input file as the client gave it; null if unknown."
    )
    status: JobStatus = Field(JobStatus.QUEUED, description="State of the item.")
    attempts: int = Field(
        0,
        ge=0,
        le=MAX_ATTEMPTS,
        description="Attempts so far, the running one included; 0 before the first.",
    )
    result: dict[str, Any] | None = Field(
        None,
        description=(
            "Result of the item, null until it succeeded: `key`, `url`, `content_type`, `bytes`, "
            "`width` and `height` in pixels and `sha256` of the file, and `data`, the JSON result. "
            "`url` answers the file without a key until the time that is in it, `key` names it in "
            "the store. "
            "A truncated one says so: `data_omitted`, `url_omitted`, `filename_omitted`, "
            "`result_omitted`."
        ),
    )
    error: JobError | None = Field(
        None, description="Reason why the item failed or was cancelled; null otherwise."
    )
    timings_ms: dict[str, float] = Field(
        default_factory=dict,
        description=(
            "Milliseconds spent in each phase of the last attempt, such as `queued`, `fetch`, "
            "`infer` and `store`."
        ),
    )
    started_at: str | None = Field(
        None,
        description="Start of the last attempt, RFC 3339 in UTC; null if it was not seen to run.",
    )
    finished_at: str | None = Field(
        None, description="End of the item, RFC 3339 in UTC; null until it ended."
    )
    model: dict[str, Any] | None = Field(
        None,
        description=(
            "Model that was run: `name`, `sha256`, `provider`, `precision`, and `others` if there "
            "were several; null for none."
        ),
    )


class Progress(Frozen):
    """Counts of a job's items."""

    total: int = Field(ge=0, le=MAX_ITEMS, description="Number of items of the job.")
    processed: int = Field(
        ge=0, le=MAX_ITEMS, description="Items that have succeeded or failed so far."
    )
    failed: int = Field(ge=0, le=MAX_ITEMS, description="Items that have failed so far.")


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
    """A job's public state, as `jobs.state` holds it after each change."""

    revision: int = Field(
        0, ge=0, description="Number of changes so far; the higher of two states is the newer."
    )
    status: JobStatus = Field(JobStatus.QUEUED, description="State of the job.")
    outcomes: str = Field(
        "",
        description=(
            "One letter an item, in order: `.` queued, `r` running, `s` succeeded, `f` failed, "
            "`c` cancelled."
        ),
    )
    # A running batch has a record for each item (key "job id/index") instead, so that a batch of
    # n items writes O(n) bytes in all.
    items: tuple[Item, ...] = Field(
        (),
        description="All items of an ended job, in order; empty before, but for a job of one item.",
    )
    error: JobError | None = Field(
        None, description="Reason why the job failed or was cancelled; null otherwise."
    )
    attempts: int = Field(
        0, ge=0, le=MAX_ATTEMPTS, description="Most attempts that any one item has taken so far."
    )
    started_at: str | None = Field(
        None,
        description="Earliest start of any attempt, RFC 3339 in UTC; null before, and if unknown.",
    )
    finished_at: str | None = Field(
        None,
        description=(
            "Latest end of any item, or the time of the cancel request, RFC 3339 in UTC; of an "
            "ended job its end."
        ),
    )
    model: dict[str, Any] | None = Field(
        None,
        description=(
            "Model that was run, as in the items; of several the same one whatever item ended "
            "first; null for none."
        ),
    )

    @property
    def progress(self) -> Progress:
        """Counts over all items."""
        failed = self.outcomes.count("f")
        processed = self.outcomes.count("s") + failed
        return Progress.from_all({"total": self.total, "processed": processed, "failed": failed})


def _required(name: str) -> Any:
    """Declare a field of JobState with its description and range, but without a default."""
    field = copy(JobState.model_fields[name])
    field.default, field.default_factory = ..., None
    return field


def _optional(name: str) -> Any:
    """Declare a field of JobState as it is: events of older writers may lack it."""
    return copy(JobState.model_fields[name])


class FinishedJob(Frozen):
    """The fields of an ended job that its terminal event shows, each as in JobState.

    Their order is that of the JSON on `jobs.results` since version 1.
    """

    job_id: str = _required("job_id")
    status: JobStatus = _required("status")
    operation: str = _required("operation")
    params: dict[str, Any] = _required("params")
    pipeline: tuple[Step, ...] = _optional("pipeline")
    priority: Priority = _required("priority")
    progress: Progress = Field(description="Counts of the job's items.")
    items: tuple[Item, ...] = _required("items")
    error: JobError | None = _required("error")
    attempts: int = _required("attempts")
    created_at: str = _required("created_at")
    started_at: str | None = _required("started_at")
    finished_at: str = _required("finished_at")
    metadata: dict[str, Any] = _required("metadata")
    model: dict[str, Any] | None = _required("model")
    webhook: Webhook | None = _optional("webhook")
    dialect: str | None = _optional("dialect")
    traceparent: str | None = _optional("traceparent")
    owner: str | None = _optional("owner")


# Fields of JobState that its terminal event does not show: `progress` counts `total` and
# `outcomes`, and the others are of use to imagemill alone.
NOT_PUBLISHED = frozenset(
    {"total", "outcomes", "revision", "template", "expires_at", "fingerprint", "weight"}
)


def item_key(job_id: str, index: int, total: int) -> str:
    """Return the message key of an item: the job id for a job of one, else "job id/index"."""
    return job_id if total == 1 else f"{job_id}/{index}"


def cancelled_error() -> JobError:
    """Return the error that a cancelled job carries."""
    return JobError.of(ErrorCode.CANCELLED, "The job was cancelled before it ended.")
