"""The webhook endpoints and their status, as the topics have them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator

from schemas.cloudevents import DecodeError, decode_endpoint, decode_endpoint_status
from schemas.jobs import ENDING_EVENTS, JOB_EVENTS, WebhookEvent
from schemas.webhooks import EndpointStatus, WebhookEndpoint

log = logging.getLogger(__name__)

# About 200 MB in memory. The APIs bound the endpoints of an owner; this bounds a defect.
_MAX_ENDPOINTS = 100_000
_RUNNING_EVENTS = frozenset(JOB_EVENTS) - frozenset(ENDING_EVENTS)


class Endpoints:
    """All endpoints by id and by owner, with the newest status of each."""

    def __init__(self, endpoints_topic: str, status_topic: str) -> None:
        self._endpoints_topic = endpoints_topic
        self._status_topic = status_topic
        self._endpoints: dict[str, WebhookEndpoint] = {}
        self._of_owner: defaultdict[str | None, dict[str, WebhookEndpoint]] = defaultdict(dict)
        self._status: dict[str, EndpointStatus] = {}
        self._running = 0

    def __len__(self) -> int:
        """Count the endpoints."""
        return len(self._endpoints)

    @property
    def subscribe_to_running(self) -> bool:
        """True if an endpoint is subscribed to events of jobs that run."""
        return self._running > 0

    def get(self, endpoint_id: str) -> WebhookEndpoint | None:
        """Return an endpoint; None if it is deleted or unknown."""
        return self._endpoints.get(endpoint_id)

    def status(self, endpoint_id: str) -> EndpointStatus | None:
        """Return what the notifier has written about an endpoint; None for nothing."""
        return self._status.get(endpoint_id)

    def subscribed(self, owner: str | None, event: WebhookEvent) -> Iterator[WebhookEndpoint]:
        """Yield the enabled endpoints of an owner that are subscribed to an event."""
        for endpoint in self._of_owner.get(owner, {}).values():
            if event in endpoint.events and self.why_disabled(endpoint) is None:
                yield endpoint

    def why_disabled(self, endpoint: WebhookEndpoint) -> str | None:
        """Return the reason why it gets no posts, a sentence; None if it gets them."""
        return endpoint.why_disabled(self._status.get(endpoint.endpoint_id))

    def apply(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Apply a record of either topic; one that cannot be decoded is logged and left out."""
        try:
            endpoint_id = (key or b"").decode()
            if topic == self._status_topic:
                self._apply_status(endpoint_id, value)
            elif value is None:
                self._remove(endpoint_id)
            else:
                self._add(endpoint_id, decode_endpoint(value))
        except (DecodeError, UnicodeDecodeError) as error:
            log.error("a record of %s cannot be used, key %r: %s", topic, key, error)

    def _apply_status(self, endpoint_id: str, value: bytes | None) -> None:
        if value is None:
            self._status.pop(endpoint_id, None)
        elif endpoint_id in self._status or len(self._status) < _MAX_ENDPOINTS:
            self._status[endpoint_id] = decode_endpoint_status(value)

    def _add(self, endpoint_id: str, endpoint: WebhookEndpoint) -> None:
        if endpoint.endpoint_id != endpoint_id:
            raise DecodeError(f"it is of endpoint {endpoint.endpoint_id}")
        self._remove(endpoint_id)
        if len(self._endpoints) >= _MAX_ENDPOINTS:
            log.error("endpoint %s is left out: %d are known", endpoint_id, _MAX_ENDPOINTS)
            return
        self._endpoints[endpoint_id] = endpoint
        self._of_owner[endpoint.owner][endpoint_id] = endpoint
        self._running += _is_running(endpoint)

    def _remove(self, endpoint_id: str) -> None:
        endpoint = self._endpoints.pop(endpoint_id, None)
        if endpoint is None:
            return
        self._running -= _is_running(endpoint)
        owned = self._of_owner[endpoint.owner]
        del owned[endpoint_id]
        if not owned:
            del self._of_owner[endpoint.owner]


def _is_running(endpoint: WebhookEndpoint) -> bool:
    return not _RUNNING_EVENTS.isdisjoint(endpoint.events)
