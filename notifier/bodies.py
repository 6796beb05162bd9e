"""What is posted: the event itself, or the body that a dialect's clients expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from schemas.cloudevents import Headers, decode, decode_webhook, event_type
from schemas.events import JobFinished
from schemas.jobs import JobStatus, WebhookEvent, WebhookStyle
from schemas.webhooks import WebhookDelivery, delivery_id


def delivery_in(headers: Headers | None, value: bytes | None) -> WebhookDelivery | None:
    """The delivery that a message is, or asks for; None when there is nothing to post.

    Raises:
        DecodeError: it is no event of ours.
        ValueError: the webhook's style is not known to this version.
    """
    if event_type(headers) == WebhookDelivery.TYPE:
        delivery = decode_webhook(headers, value)
        assert isinstance(delivery, WebhookDelivery)
        return delivery
    event = decode(headers, value)
    return make_delivery(event) if isinstance(event, JobFinished) else None


def make_delivery(event: JobFinished) -> WebhookDelivery | None:
    """The delivery that the job's submitter asked for; None when there is nothing to post.

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
        # Takes every number that was read, as orjson does not: integers have no limit in JSON.
        body=to_json(body(event), inf_nan_mode="null").decode(),
    )


def _standard(event: JobFinished) -> dict[str, Any]:
    data = event.model_dump(mode="json", exclude={"webhook", "dialect", "traceparent"})
    return {"type": WebhookEvent.FINISHED, "timestamp": event.finished_at, "data": data}


def _background_removal(event: JobFinished) -> dict[str, Any]:
    """The entry that `GET /get_result` lists for the job."""
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
