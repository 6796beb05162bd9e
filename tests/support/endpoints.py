"""Webhook endpoints as the APIs write them, for tests."""

from __future__ import annotations

from typing import Any

from imagemill.webhooks.endpoints import seal_headers, seal_secret
from imagemill.webhooks.sealing import Sealer
from imagemill.webhooks.secrets import new_secret
from schemas.webhooks import WebhookEndpoint

CREATED = "2026-01-01T00:00:00.000Z"
ID = "ep_12345678"
KEY = bytes(range(32))
SEALER = Sealer([KEY])


def endpoint(
    endpoint_id: str = ID,
    events: tuple[str, ...] = ("job.finished",),
    *,
    secret: str | None = None,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> WebhookEndpoint:
    """An endpoint with one secret, a new one unless it is given."""
    known = {
        "endpoint_id": endpoint_id,
        "url": "https://receiver.test/hook",
        "events": events,
        "secrets": (seal_secret(SEALER, endpoint_id, secret or new_secret(), CREATED),),
        "headers": seal_headers(SEALER, endpoint_id, headers or {}),
        **dict.fromkeys(("created_at", "updated_at", "enabled_at"), CREATED),
    }
    return WebhookEndpoint(**(known | fields))
