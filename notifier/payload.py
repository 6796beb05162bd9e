"""What is posted for a job's end: the event itself, or the body that a dialect's clients expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from schemas.events import JobFinished
from schemas.jobs import JobStatus
from schemas.webhooks import WebhookDelivery, delivery_id

_FINISHED = "job.finished"


def make_delivery(event: JobFinished) -> WebhookDelivery | None:
    """The delivery that the job's submitter asked for; None when there is nothing to post.

    Raises:
        ValueError: the webhook's style is not known to this version.
    """
    webhook = event.webhook
    if webhook is None or _FINISHED not in webhook.events:
        return None
    body = _STYLES.get(webhook.style)
    if body is None:
        raise ValueError(f"unknown webhook style {webhook.style!r}")
    return WebhookDelivery(
        job_id=event.job_id,
        delivery_id=delivery_id(event.event_id),
        url=webhook.url,
        body=orjson.dumps(body(event)).decode(),
    )


def _standard(event: JobFinished) -> dict[str, Any]:
    data = event.model_dump(mode="json", exclude={"webhook", "dialect", "traceparent"})
    return {"type": _FINISHED, "timestamp": event.finished_at, "data": data}


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
    "background_removal": _background_removal,
}
