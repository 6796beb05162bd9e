"""Make deliveries of events: the body of Standard Webhooks, or the one of a dialect's clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from schemas.cloudevents import Headers, decode, decode_webhook, event_type
from schemas.events import JobFinished
from schemas.jobs import JobState, JobStatus, WebhookEvent, WebhookStyle
from schemas.webhooks import WebhookDelivery, delivery_id

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


def deliveries_in(headers: Headers | None, value: bytes | None) -> list[WebhookDelivery]:
    """Return the delivery that a message of `webhooks.retry` is, or one of `jobs.results` asks for.

    Raises:
        DecodeError: the message is no event of ours.
        ValueError: the webhook's style is not known to this version.
    """
    if event_type(headers) == WebhookDelivery.TYPE:
        delivery = decode_webhook(headers, value)
        assert isinstance(delivery, WebhookDelivery)
        return [delivery]
    event = decode(headers, value)
    delivery = finished_delivery(event) if isinstance(event, JobFinished) else None
    return [delivery] if delivery is not None else []


def finished_delivery(event: JobFinished) -> WebhookDelivery | None:
    """Make the delivery of a job's end; None when no webhook asks for it.

    Raises:
        ValueError: the webhook's style is not known to this version.
    """
    webhook = event.webhook
    if webhook is None or WebhookEvent.FINISHED not in webhook.events:
        return None
    body = _STYLES.get(webhook.style)
    if body is None:
        raise ValueError(f"unknown webhook style {webhook.style!r}")
    return WebhookDelivery(
        job_id=event.job_id,
        delivery_id=delivery_id(event.event_id),
        url=webhook.url,
        body=_json(body(event)),
    )


def running_delivery(
    event: WebhookEvent, state: JobState, at: str, repeat: str = ""
) -> WebhookDelivery:
    """Make the delivery of an event of a running job, which happened at `at`.

    An event that is due more than once has another `repeat` each time: the delivery id, by which
    receivers recognise what they have handled, is made of job, event and `repeat`.
    """
    assert state.webhook is not None
    data = state.model_dump(mode="json", include=_RUNNING_FIELDS)
    data["progress"] = state.progress.model_dump()
    return WebhookDelivery(
        job_id=state.job_id,
        delivery_id=delivery_id(f"{state.job_id}/{event}.v1/{repeat}"),
        url=state.webhook.url,
        body=_json({"type": event, "timestamp": at, "data": data}),
    )


def _standard(event: JobFinished) -> dict[str, Any]:
    data = event.model_dump(mode="json", exclude={"webhook", "dialect", "traceparent"})
    return {"type": WebhookEvent.FINISHED, "timestamp": event.finished_at, "data": data}


def _background_removal(event: JobFinished) -> dict[str, Any]:
    """Return the entry that `GET /get_result` lists for the job."""
    item = event.items[0] if event.items else None
    if event.status == JobStatus.SUCCEEDED and item and item.result:
        return {"id": event.job_id, "status": "completed", "image_url": item.result.get("url")}
    error = (item and item.error) or event.error
    message = error.message if error else "The job did not succeed."
    return {"id": event.job_id, "status": "failed", "error": message}


_STYLES: dict[str | None, Callable[[JobFinished], dict[str, Any]]] = {
    None: _standard,
    WebhookStyle.BACKGROUND_REMOVAL: _background_removal,
}


def _json(body: dict[str, Any]) -> str:
    # Not orjson, which refuses integers over 64 bits: JSON has no limit, and metadata may hold one.
    return to_json(body, inf_nan_mode="null").decode()
