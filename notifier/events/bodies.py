"""Make deliveries of events: the body of Standard Webhooks, or the one of a dialect's clients."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json, to_json

from schemas.errors import ErrorCode, JobError
from schemas.events import JobFinished
from schemas.jobs import ENDING_EVENTS, JobState, JobStatus, WebhookEvent, WebhookStyle
from schemas.webhooks import (
    EndpointBody,
    EndpointStatus,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookTest,
    WebhookTrigger,
    delivery_id,
)

# The job of test events.
_SAMPLE_JOB = "test-job"

# Fields of a job's state in the data of the events that are due while it runs.
_RUNNING_FIELDS = {
    "job_id",
    "status",
    "operation",
    "priority",
    "created_at",
    "started_at",
    "metadata",
}


def ended_delivery(
    kind: WebhookEvent, event: JobFinished, endpoint: WebhookEndpoint | None = None
) -> WebhookDelivery | None:
    """Make the delivery of a job's end to an endpoint, or to its own webhook.

    None when its own webhook does not ask for it.

    Raises:
        ValueError: the webhook's style is not known to this version.
    """
    webhook = event.webhook
    name = event.event_id if kind is WebhookEvent.FINISHED else f"{event.event_id}/{kind}"
    if endpoint is not None:
        body = _ended_body(kind, event, endpoint)
    elif webhook is None or kind not in webhook.events:
        return None
    elif webhook.style is None:
        body = _ended_body(kind, event)
    elif webhook.style == WebhookStyle.BACKGROUND_REMOVAL:
        body = _background_removal(event)
    else:
        raise ValueError(f"unknown webhook style {webhook.style!r}")
    return _delivery(kind, event, name, body, endpoint)


def running_delivery(
    event: WebhookEvent,
    state: JobState,
    at: str,
    repeat: str = "",
    endpoint: WebhookEndpoint | None = None,
) -> WebhookDelivery:
    """Make the delivery of an event of a running job, which happened at `at`.

    An event that is due more than once has another `repeat` each time: the delivery id, by which
    receivers recognise what they have handled, is made of job, event and `repeat`.
    """
    if _is_thin(endpoint):
        data = _thin_job(state.job_id)
    else:
        data = state.model_dump(mode="json", include=_RUNNING_FIELDS)
        data["progress"] = state.progress.model_dump()
    body = {"type": event, "timestamp": at, "data": data}
    return _delivery(event, state, f"{state.job_id}/{event}.v1/{repeat}", body, endpoint)


def disabled_delivery(
    disabled: WebhookEndpoint, status: EndpointStatus, name: str, endpoint: WebhookEndpoint
) -> WebhookDelivery:
    """Make the delivery of `endpoint.disabled` to another endpoint of the same owner.

    `name` is the id of the event, the same when it is found out again after a crash.
    """
    data: dict[str, Any] = {"endpoint_id": disabled.endpoint_id}
    if _is_thin(endpoint):
        data["links"] = {"endpoint": f"/v1/webhooks/endpoints/{disabled.endpoint_id}"}
    else:
        data |= disabled.model_dump(include={"url", "description"})
        data |= status.model_dump(include={"reason", "failing_since"})
    kind = WebhookEvent.ENDPOINT_DISABLED
    body = {"type": kind, "timestamp": status.disabled_at, "data": data}
    return _to_endpoint(kind, name, body, endpoint)


def sample_delivery(command: WebhookTest, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Make the delivery of a test event: with the form of the real one, and `"test": true`."""
    kind = command.event
    if kind is WebhookEvent.ENDPOINT_DISABLED:
        status = EndpointStatus(
            endpoint_id=endpoint.endpoint_id, disabled_at=command.at, reason="This is a test."
        )
        made = disabled_delivery(endpoint, status, command.event_id, endpoint)
    elif kind in ENDING_EVENTS:
        made = _ended_sample(kind, command.at, endpoint)
    else:
        state = JobState(job_id=_SAMPLE_JOB, status=JobStatus.RUNNING, total=2, outcomes="sr")
        made = running_delivery(kind, state, command.at, endpoint=endpoint)
    return made.evolve(
        job_id=None,
        delivery_id=command.delivery_id,
        trigger=WebhookTrigger.TEST,
        body=_json(from_json(made.body) | {"test": True}),
    )


def _ended_sample(kind: WebhookEvent, at: str, endpoint: WebhookEndpoint) -> WebhookDelivery:
    failed = kind is WebhookEvent.FAILED
    status = JobStatus.FAILED if failed else JobStatus.SUCCEEDED
    error = JobError.of(ErrorCode.INTERNAL, "This is a test.") if failed else None
    state = JobState(
        job_id=_SAMPLE_JOB,
        operation="remove-background",
        status=status,
        total=1,
        outcomes="f" if failed else "s",
        error=error,
        created_at=at,
        finished_at=at,
    )
    made = ended_delivery(kind, JobFinished.of(state), endpoint)
    assert made is not None
    return made


def _ended_body(
    kind: WebhookEvent, event: JobFinished, endpoint: WebhookEndpoint | None = None
) -> dict[str, Any]:
    if _is_thin(endpoint):
        data = _thin_job(event.job_id)
    else:
        data = event.model_dump(mode="json", exclude={"webhook", "dialect", "traceparent"})
    return {"type": kind, "timestamp": event.finished_at, "data": data}


def _is_thin(endpoint: WebhookEndpoint | None) -> bool:
    return endpoint is not None and endpoint.body == EndpointBody.THIN


def _thin_job(job_id: str) -> dict[str, Any]:
    return {"job_id": job_id, "links": {"job": f"/v1/jobs/{job_id}"}}


def _delivery(
    kind: WebhookEvent,
    job: JobFinished | JobState,
    name: str,
    body: dict[str, Any],
    endpoint: WebhookEndpoint | None,
) -> WebhookDelivery:
    """Make a delivery about a job; `name` is the id of the event."""
    if endpoint is not None:
        return _to_endpoint(kind, name, body, endpoint).evolve(job_id=job.job_id)
    assert job.webhook is not None
    return WebhookDelivery(
        job_id=job.job_id,
        delivery_id=delivery_id(name),
        url=job.webhook.url,
        owner=job.owner,
        event=kind,
        body=_json(body),
    )


def _to_endpoint(
    kind: WebhookEvent, name: str, body: dict[str, Any], endpoint: WebhookEndpoint
) -> WebhookDelivery:
    return WebhookDelivery(
        delivery_id=delivery_id(name, endpoint.endpoint_id),
        url=endpoint.url,
        endpoint_id=endpoint.endpoint_id,
        owner=endpoint.owner,
        event=kind,
        body=_json(body),
    )


def _background_removal(event: JobFinished) -> dict[str, Any]:
    """Return the entry that `GET /get_result` lists for the job."""
    item = event.items[0] if event.items else None
    if event.status == JobStatus.SUCCEEDED and item and item.result:
        return {"id": event.job_id, "status": "completed", "image_url": item.result.get("url")}
    error = (item and item.error) or event.error
    message = error.message if error else "The job did not succeed."
    return {"id": event.job_id, "status": "failed", "error": message}


def _json(body: dict[str, Any]) -> str:
    # Not orjson, which refuses integers over 64 bits: JSON has no limit, and metadata may hold one.
    return to_json(body, inf_nan_mode="null").decode()
