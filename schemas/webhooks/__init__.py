"""Webhooks on Kafka: endpoints, posts to be sent, a record of every attempt, and commands."""

from __future__ import annotations

from schemas.webhooks.commands import WEBHOOK_COMMANDS, WebhookReplay, WebhookTest
from schemas.webhooks.deliveries import (
    WEBHOOK_EVENTS,
    WebhookAttempt,
    WebhookDelivery,
    WebhookFailure,
    WebhookTrigger,
    delivery_id,
)
from schemas.webhooks.endpoints import (
    EndpointBody,
    EndpointSecret,
    EndpointStatus,
    WebhookEndpoint,
)
from schemas.webhooks.record import WebhookRecord

__all__ = [
    "WEBHOOK_COMMANDS",
    "WEBHOOK_EVENTS",
    "EndpointBody",
    "EndpointSecret",
    "EndpointStatus",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookFailure",
    "WebhookRecord",
    "WebhookReplay",
    "WebhookTest",
    "WebhookTrigger",
    "delivery_id",
]
