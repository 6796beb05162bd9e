"""JSON documents of the answers of `/v1/webhooks`."""

from __future__ import annotations

from pydantic import Field

from producer_api.http.job_documents import Document, shown
from producer_api.read_model.webhooks.rows import DeliveryRow, DeliveryStatus
from schemas.times import now
from schemas.webhooks import (
    EndpointBody,
    EndpointStatus,
    WebhookAttempt,
    WebhookEndpoint,
    WebhookFailure,
    WebhookTrigger,
)


class EndpointDocument(Document):
    """A webhook endpoint without its secret."""

    id: str = Field(description="id of the endpoint")
    url: str = Field(description="URL that gets a POST for each event")
    description: str = Field(description="text for people")
    events: list[str] = Field(description="types of events that are posted")
    headers: list[str] = Field(description="names of the headers that are sent along")
    body: EndpointBody | str = Field(description="`full`, or `thin` with ids and links")
    disabled: bool = Field(description="true while it gets no posts")
    disabled_reason: str | None = Field(
        description="reason why it gets none, a sentence; null while it gets posts"
    )
    failing_since: str | None = Field(
        description="time since which all posts have failed, RFC 3339 in UTC; null if they do not"
    )
    rotated_at: str | None = Field(
        description="time of the last rotation of its secret, RFC 3339 in UTC; null for never"
    )
    created_at: str = Field(description="time of its creation, RFC 3339 in UTC")
    updated_at: str = Field(description="time of its last change, RFC 3339 in UTC")

    @classmethod
    def of(cls, endpoint: WebhookEndpoint, status: EndpointStatus | None) -> EndpointDocument:
        """Make the document of an endpoint and what the notifier found out about it."""
        reason = endpoint.why_disabled(status)
        return cls(
            id=endpoint.endpoint_id,
            url=endpoint.url,
            description=endpoint.description,
            events=list(endpoint.events),
            headers=sorted(endpoint.headers),
            body=endpoint.body,
            disabled=reason is not None,
            disabled_reason=reason,
            failing_since=endpoint.failing_since(status),
            rotated_at=endpoint.rotated_at,
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
        )


class SecretDocument(Document):
    """The secret of an endpoint."""

    secret: str = Field(description="secret that signs the posts, `whsec_...` or `whsk_...`")
    public_key: str | None = Field(
        description="key `whpk_...` that receivers verify with; null for a secret `whsec_...`, "
        "which they need itself"
    )
    created_at: str = Field(description="time at which it was made or set, RFC 3339 in UTC")
    previous_expire_at: list[str] = Field(
        description="times until which secrets from before rotations sign too, RFC 3339 in UTC"
    )

    @classmethod
    def of(cls, endpoint: WebhookEndpoint, secret: str) -> SecretDocument:
        """Make the document of an endpoint's newest secret."""
        newest, *previous = endpoint.signing(now())
        return cls(
            secret=secret,
            public_key=newest.public_key,
            created_at=newest.created_at,
            previous_expire_at=[each.expires_at for each in previous if each.expires_at],
        )


class CreatedEndpoint(EndpointDocument):
    """A webhook endpoint that was just created, with its secret."""

    secret: str = Field(description="secret that signs the posts; keep it, lists do not show it")
    public_key: str | None = Field(
        description="key `whpk_...` that receivers verify with; null for a secret `whsec_...`"
    )


class EndpointList(Document):
    """All webhook endpoints of the caller."""

    endpoints: list[EndpointDocument] = Field(description="endpoints, the oldest first")


class DeliveryDocument(Document):
    """An event that was posted to one URL, and how that went."""

    id: str = Field(description="`webhook-id` of its posts")
    event: str | None = Field(description="type of the event; null if unknown")
    status: DeliveryStatus = Field(
        description="`delivered`; `pending` while another attempt is due; `failed` once given up"
    )
    url: str = Field(description="URL of the last post")
    endpoint_id: str | None = Field(
        description="id of the endpoint; null for the webhook that a job itself names"
    )
    job_id: str | None = Field(description="id of the job; null for events of none")
    created_at: str = Field(description="time of the first attempt, RFC 3339 in UTC")
    last_at: str = Field(
        description="time of the last attempt, or at which it was given up, RFC 3339 in UTC"
    )
    failed_at: str | None = Field(
        description="time at which it was given up, RFC 3339 in UTC; null if it was not"
    )
    next_at: str | None = Field(
        description="time at which the next attempt is due, RFC 3339 in UTC; null for none"
    )
    reason: str | None = Field(description="reason why it was given up, a sentence; else null")
    replayable: bool = Field(description="true if its body was kept and it has ended")

    @classmethod
    def of(cls, row: DeliveryRow) -> DeliveryDocument:
        """Make the document of a delivery."""
        status = DeliveryStatus(row.status)
        return cls(
            id=row.delivery_id,
            event=row.event,
            status=status,
            url=row.url,
            endpoint_id=row.endpoint_id,
            job_id=row.job_id,
            created_at=row.created_at,
            last_at=row.last_at,
            failed_at=row.failed_at if status is DeliveryStatus.FAILED else None,
            next_at=row.next_at if status is DeliveryStatus.PENDING else None,
            reason=row.reason if status is DeliveryStatus.FAILED else None,
            replayable=status is not DeliveryStatus.PENDING and row.topic is not None,
        )


class DeliveryList(Document):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryDocument] = Field(description="deliveries that match the filters")
    next_cursor: str | None = Field(description="cursor of the next page; null on the last one")


class AttemptDocument(Document):
    """One attempt to post a delivery."""

    attempt: int = shown(WebhookAttempt, "attempt")
    trigger: WebhookTrigger | str = shown(WebhookAttempt, "trigger")
    at: str = shown(WebhookAttempt, "at")
    url: str = shown(WebhookAttempt, "url")
    duration_ms: float = shown(WebhookAttempt, "duration_ms")
    status: int | None = shown(WebhookAttempt, "status")
    failure: WebhookFailure | None = shown(WebhookAttempt, "failure")
    message: str | None = shown(WebhookAttempt, "message")
    response: str | None = shown(WebhookAttempt, "response")
    next_at: str | None = shown(WebhookAttempt, "next_at")

    @classmethod
    def of(cls, attempt: WebhookAttempt) -> AttemptDocument:
        """Make the document of an attempt."""
        return cls(**attempt.model_dump(mode="json", include=set(cls.model_fields)))


class AttemptList(Document):
    """All attempts at a delivery, its replays included."""

    attempts: list[AttemptDocument] = Field(description="attempts, the first one first")


class PostedDocument(Document):
    """A test event or a replay that was asked for."""

    delivery_id: str = Field(description="id of the delivery, the `webhook-id` of the post")
    attempt: AttemptDocument | None = Field(
        description="attempt that was made; null if it had not ended within `Prefer: wait`"
    )


class ReplayedDeliveries(Document):
    """Deliveries that are about to be posted once more."""

    replayed: int = Field(ge=0, description="deliveries that are posted once more")
    not_kept: int = Field(
        ge=0, description="failed deliveries whose bodies were too large to be kept"
    )
    next_since: str | None = Field(
        description="time to ask for next, since one request replays so many; null if all were"
    )
