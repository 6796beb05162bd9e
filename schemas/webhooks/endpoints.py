"""Webhook endpoints: what their owners set, and what the notifier finds out about them.

The two are records on topics of their own, as each topic has one kind of writer: the APIs write
`webhooks.endpoints`, the notifier `webhooks.endpoint-status`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Frozen
from schemas.jobs import WebhookEvents
from schemas.times import Timestamp, from_epoch, to_epoch
from schemas.webhooks.record import EndpointId

# Secrets that sign at once: the newest, and those that rotations have left valid for a while. Each
# adds 100 bytes to a header of every post.
MAX_SECRETS = 5


class EndpointBody(StrEnum):
    """The body that an endpoint gets."""

    FULL = "full"
    """The event's type, time and data."""
    THIN = "thin"
    """The event's type and time, and in its data only ids and links to fetch the rest by."""


class EndpointSecret(Frozen):
    """A secret that signs an endpoint's posts, encrypted (imagemill.webhooks.sealing)."""

    sealed: str = Field(
        description="Secret, encrypted: `whsec_...` of HMAC-SHA256, or `whsk_...` of ed25519."
    )
    public_key: str | None = Field(
        None,
        description="Public key `whpk_...` that receivers verify with, of an ed25519 secret; null "
        "for HMAC-SHA256.",
    )
    created_at: Timestamp = Field(
        description="Time at which the secret was made or set, RFC 3339 in UTC."
    )
    expires_at: Timestamp | None = Field(
        None,
        description="Time from which it no longer signs, RFC 3339 in UTC; null for the newest.",
    )

    def signs(self, at: str) -> bool:
        """True if posts are signed with it at this time."""
        return self.expires_at is None or self.expires_at > at


class EndpointStatus(Frozen):
    """Findings of the notifier on one endpoint; on `webhooks.endpoint-status` by endpoint id."""

    endpoint_id: EndpointId
    failing_since: Timestamp | None = Field(
        None,
        description="Time of the first failure since the endpoint last accepted a post, RFC 3339 "
        "in UTC; null while it accepts posts. Written once it has lasted for a minute.",
    )
    disabled_at: Timestamp | None = Field(
        None,
        description="Time at which the notifier disabled the endpoint, RFC 3339 in UTC; it counts "
        "until the endpoint's `enabled_at` is later. Null for never.",
    )
    reason: str | None = Field(
        None, description="Reason why the notifier disabled the endpoint, a sentence."
    )


class WebhookEndpoint(Frozen):
    """A URL that gets the events of an owner's jobs; on `webhooks.endpoints` by endpoint id."""

    endpoint_id: EndpointId
    owner: str | None = Field(
        None, description="Account whose jobs' events are posted; null for jobs without an owner."
    )
    url: str = Field(description="Absolute http or https URL that gets a POST for each event.")
    description: str = Field("", description="Text for people.")
    events: WebhookEvents = Field(
        (), description="Types of events to post; unknown ones are never posted."
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="Headers to send along, by name; the values are encrypted.",
    )
    body: Annotated[EndpointBody | str, Field(union_mode="left_to_right")] = Field(
        EndpointBody.FULL, description="Body of the posts: `full`, or `thin` with ids and links."
    )
    disabled: bool = Field(False, description="True if its owner has disabled it.")
    disabled_reason: str | None = Field(
        None, description="Reason why its owner has disabled it, a sentence; null for none."
    )
    secrets: tuple[EndpointSecret, ...] = Field(
        description="Secrets that sign the posts, the newest first."
    )
    created_at: Timestamp = Field(description="Time of its creation, RFC 3339 in UTC.")
    updated_at: Timestamp = Field(description="Time of its last change, RFC 3339 in UTC.")
    enabled_at: Timestamp = Field(
        description="Time at which it was created or last enabled, RFC 3339 in UTC; failures "
        "before it no longer count."
    )
    rotated_at: Timestamp | None = Field(
        None, description="Time at which its secret was last rotated, RFC 3339 in UTC; else null."
    )

    def why_disabled(self, status: EndpointStatus | None) -> str | None:
        """Return the reason why it gets no posts, a sentence; None if it gets them."""
        if self.disabled:
            return self.disabled_reason or "Its owner has disabled it."
        if status is None or status.disabled_at is None or status.disabled_at < self.enabled_at:
            return None
        return status.reason or "The notifier has disabled it."

    def failing_since(self, status: EndpointStatus | None) -> str | None:
        """Return the time since which all its posts have failed; None if they do not."""
        since = status and status.failing_since
        return since if since is not None and since > self.enabled_at else None

    def enable(self, status: EndpointStatus | None, at: str) -> WebhookEndpoint:
        """Return it enabled at a time, whoever disabled it: its failures are counted from zero."""
        if status is not None and status.disabled_at is not None and at <= status.disabled_at:
            # The clock of this machine is behind the notifier's.
            at = from_epoch(to_epoch(status.disabled_at) + 0.002)
        return self.evolve(disabled=False, disabled_reason=None, enabled_at=at, updated_at=at)

    def rotate(self, newest: EndpointSecret, at: str, overlap_s: float) -> WebhookEndpoint:
        """Return it with a new secret; the one before signs for `overlap_s` seconds more.

        Secrets of rotations before that keep the time at which they expire, so that receivers that
        were promised an overlap get it. Beyond MAX_SECRETS, the oldest are dropped.
        """
        expires_at = from_epoch(to_epoch(at) + overlap_s)
        still = [
            each if each.expires_at is not None else each.evolve(expires_at=expires_at)
            for each in self.signing(at)
        ]
        kept = [each for each in still if each.signs(at)][: MAX_SECRETS - 1]
        return self.evolve(secrets=(newest, *kept), rotated_at=at, updated_at=at)

    def signing(self, at: str) -> tuple[EndpointSecret, ...]:
        """Return the secrets that sign at this time, the newest first."""
        return tuple(each for each in self.secrets if each.signs(at))
