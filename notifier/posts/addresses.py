"""Decide for each post where it goes, with which headers, and signed by what."""

from __future__ import annotations

from datetime import UTC, datetime

from multidict import CIMultiDict

from imagemill.webhooks.endpoints import open_headers, open_secret
from imagemill.webhooks.sealing import CannotOpen, Sealer
from imagemill.webhooks.secrets import SecretInvalid
from notifier.endpoints import Endpoints
from notifier.posts.signing import signatures
from schemas.times import from_epoch
from schemas.webhooks import WebhookDelivery, WebhookEndpoint, WebhookTrigger

# Headers that the HTTP client sets from the URL and the body.
_HOP_HEADERS = ("host", "content-length", "transfer-encoding", "connection")


class NotPosted(Exception):
    """A delivery is not to be posted any more; the text says why, a sentence."""


class NotSigned(Exception):
    """A post cannot be signed, or its headers not be read; the text says why, a sentence."""


class Addresses:
    """The receivers of deliveries: a job's own URL, or an endpoint as it is today."""

    def __init__(self, endpoints: Endpoints, sealer: Sealer, secret: str) -> None:
        """`secret` signs the posts to jobs' own URLs."""
        self._endpoints = endpoints
        self._sealer = sealer
        self._secret = secret

    def addressed(self, delivery: WebhookDelivery) -> WebhookDelivery:
        """Return the delivery with the URL that its endpoint has today.

        Raises:
            NotPosted: its endpoint is deleted; or disabled, and nobody asked for this post.
        """
        if delivery.endpoint_id is None:
            return delivery
        endpoint = self._endpoint(delivery)
        disabled = self._endpoints.why_disabled(endpoint)
        if disabled is not None and delivery.trigger == WebhookTrigger.EVENT:
            raise NotPosted(f"The endpoint is disabled. {disabled}")
        return delivery if endpoint.url == delivery.url else delivery.evolve(url=endpoint.url)

    def headers(self, delivery: WebhookDelivery, now: float) -> CIMultiDict[str]:
        """Return the headers of a post at a Unix time.

        Raises:
            NotPosted: its endpoint is deleted.
            NotSigned: a secret or header cannot be decrypted.
        """
        at = datetime.fromtimestamp(int(now), UTC)
        headers: CIMultiDict[str] = CIMultiDict({"user-agent": "imagemill"})
        secrets = [self._secret]
        try:
            if delivery.endpoint_id is not None:
                endpoint = self._endpoint(delivery)
                headers.update(open_headers(self._sealer, endpoint))
                secrets = self._secrets(endpoint, from_epoch(now))
            signed = signatures(secrets, delivery.delivery_id, at, delivery.body)
        except (CannotOpen, SecretInvalid) as error:
            raise NotSigned(f"The post cannot be signed: {error}.") from error
        for name in _HOP_HEADERS:
            headers.popall(name, None)
        headers["content-type"] = "application/json"
        headers["webhook-id"] = delivery.delivery_id
        headers["webhook-timestamp"] = str(int(now))
        headers["webhook-signature"] = signed
        return headers

    def _secrets(self, endpoint: WebhookEndpoint, at: str) -> list[str]:
        signing = endpoint.signing(at)
        if not signing:
            raise SecretInvalid(f"endpoint {endpoint.endpoint_id} has no secret")
        return [open_secret(self._sealer, endpoint.endpoint_id, each) for each in signing]

    def _endpoint(self, delivery: WebhookDelivery) -> WebhookEndpoint:
        assert delivery.endpoint_id is not None
        endpoint = self._endpoints.get(delivery.endpoint_id)
        if endpoint is None:
            raise NotPosted("The endpoint was deleted.")
        return endpoint
