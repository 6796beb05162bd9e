"""The Python client: `Client`, `AsyncClient`, their documents and errors. See docs/client.md."""

from __future__ import annotations

from imagemill.client.asynchronous import AsyncClient
from imagemill.client.documents import Error, Item, Job, JobEvent, Progress, Result
from imagemill.client.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    ImagemillError,
    InfrastructureFailed,
    InputFailed,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    ModelFailed,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    WaitTimeout,
)
from imagemill.client.flows import Submission
from imagemill.client.images import Image
from imagemill.client.mapping import Outcome
from imagemill.client.results import consume_results
from imagemill.client.sync import Client
from imagemill.client.webhooks import WebhookInvalid, verify_webhook

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Error",
    "Forbidden",
    "Image",
    "ImagemillError",
    "InfrastructureFailed",
    "InputFailed",
    "InvalidRequest",
    "Item",
    "Job",
    "JobCancelled",
    "JobEvent",
    "JobFailed",
    "ModelFailed",
    "NotFound",
    "Outcome",
    "Progress",
    "RateLimited",
    "Result",
    "Submission",
    "Unauthorized",
    "Unavailable",
    "WaitTimeout",
    "WebhookInvalid",
    "consume_results",
    "verify_webhook",
]
