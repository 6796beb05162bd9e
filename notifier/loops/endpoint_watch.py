"""Finds out from the attempts which endpoints fail, and disables those that do for days."""

from __future__ import annotations

import logging

from confluent_kafka import Message

from notifier.endpoints import Endpoints
from notifier.events.bodies import disabled_delivery
from notifier.kafka.records import DeliveryRecords
from schemas.cloudevents import decode_webhook
from schemas.jobs import WebhookEvent
from schemas.times import now, to_epoch
from schemas.webhooks import (
    EndpointStatus,
    WebhookAttempt,
    WebhookEndpoint,
    WebhookFailure,
    WebhookTrigger,
)

log = logging.getLogger(__name__)

_GONE = 410
# Failures of a shorter time are not written: most endpoints that fail do so once.
_MIN_FAILING_S = 60.0
# Most attempts are at the webhooks of jobs; they are passed over undecoded.
_OF_ENDPOINT = b'"endpoint_id":"'
# The notifier's own key is wrong, which is not the endpoint's doing.
_NOT_COUNTED = (WebhookFailure.NOT_SIGNED,)


class EndpointWatch:
    """Reads `webhooks.attempts` in order, and writes `webhooks.endpoint-status`.

    All attempts at an endpoint are in one partition, which one process reads: so no other one
    writes the endpoint's status.
    """

    def __init__(
        self, endpoints: Endpoints, records: DeliveryRecords, disable_after_s: float
    ) -> None:
        """`disable_after_s` is the time of failures alone after which an endpoint is disabled."""
        self._endpoints = endpoints
        self._records = records
        self._disable_after_s = disable_after_s
        # What this process has written, as it may not have read it yet; and the times of first
        # failures that are not written yet.
        self._written: dict[str, EndpointStatus] = {}
        self._failing_since: dict[str, str] = {}

    async def handle(self, message: Message) -> None:
        """Take note of an attempt.

        Raises:
            ValueError: the message cannot be decoded.
        """
        value = message.value()
        if value is None or _OF_ENDPOINT not in value:
            return
        attempt = decode_webhook(message.headers(), value)
        if isinstance(attempt, WebhookAttempt) and attempt.endpoint_id is not None:
            endpoint = self._endpoints.get(attempt.endpoint_id)
            if endpoint is None:
                await self._forget(attempt.endpoint_id)
            elif self._counts(attempt, endpoint):
                await self._observe(attempt, endpoint)

    def released(self) -> None:
        """Forget the endpoints: another process may write their status from now on."""
        self._written.clear()
        self._failing_since.clear()

    def _counts(self, attempt: WebhookAttempt, endpoint: WebhookEndpoint) -> bool:
        return (
            attempt.trigger == WebhookTrigger.EVENT
            and attempt.failure not in _NOT_COUNTED
            and attempt.at > endpoint.enabled_at
        )

    def _status(self, endpoint_id: str) -> EndpointStatus:
        read = self._endpoints.status(endpoint_id)
        written = self._written.get(endpoint_id)
        if written is not None and written == read:
            del self._written[endpoint_id]
        return written or read or EndpointStatus(endpoint_id=endpoint_id)

    async def _observe(self, attempt: WebhookAttempt, endpoint: WebhookEndpoint) -> None:
        endpoint_id = endpoint.endpoint_id
        status = self._status(endpoint_id)
        if attempt.failure is None:
            self._failing_since.pop(endpoint_id, None)
            if endpoint.failing_since(status) is not None:
                await self._write(status.evolve(failing_since=None))
            return
        if endpoint.why_disabled(status) is not None:
            return
        since = endpoint.failing_since(status) or self._failing_since.get(endpoint_id) or ""
        if since <= endpoint.enabled_at:
            since = self._failing_since[endpoint_id] = attempt.at
        failing_s = to_epoch(attempt.at) - to_epoch(since)
        failing = status.evolve(failing_since=since)
        if attempt.status == _GONE:
            await self._disable(endpoint, failing, "It answered 410: it wants no more deliveries.")
        elif failing_s >= self._disable_after_s:
            reason = f"Every post since {since} has failed. The last: {attempt.message}"
            await self._disable(endpoint, failing, reason)
        elif failing_s >= _MIN_FAILING_S and status.failing_since != since:
            await self._write(failing)

    async def _disable(
        self, endpoint: WebhookEndpoint, failing: EndpointStatus, reason: str
    ) -> None:
        endpoint_id = endpoint.endpoint_id
        log.warning("endpoint %s is disabled: %s", endpoint_id, reason)
        status = failing.evolve(disabled_at=max(now(), endpoint.enabled_at), reason=reason)
        # Before the status: after a crash between the two, the attempt is read again, and the
        # event written again under the same webhook-id.
        name = f"{endpoint_id}/endpoint.disabled.v1/{failing.failing_since}"
        event = WebhookEvent.ENDPOINT_DISABLED
        for other in list(self._endpoints.subscribed(endpoint.owner, event)):
            if other.endpoint_id != endpoint_id:
                await self._records.requeue(disabled_delivery(endpoint, status, name, other))
        await self._write(status)

    async def _write(self, status: EndpointStatus) -> None:
        await self._records.endpoint_status(status)
        self._failing_since.pop(status.endpoint_id, None)
        self._written[status.endpoint_id] = status

    async def _forget(self, endpoint_id: str) -> None:
        """Delete the status of an endpoint that is deleted."""
        self._failing_since.pop(endpoint_id, None)
        self._written.pop(endpoint_id, None)
        if self._endpoints.status(endpoint_id) is not None:
            await self._records.delete_endpoint_status(endpoint_id)
