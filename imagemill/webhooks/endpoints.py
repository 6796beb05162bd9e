"""Seal the secrets and headers of an endpoint for its record, and open them again."""

from __future__ import annotations

from collections.abc import Mapping

from imagemill.webhooks.sealing import Sealer
from imagemill.webhooks.secrets import public_key
from schemas.webhooks import EndpointSecret, WebhookEndpoint

_SECRET = "secret"


def seal_secret(sealer: Sealer, endpoint_id: str, secret: str, at: str) -> EndpointSecret:
    """Return the record of a new secret, made or set at this time.

    Raises:
        SecretInvalid: it is no secret of Standard Webhooks.
    """
    public = public_key(secret)
    sealed = sealer.seal(secret, endpoint_id, _SECRET)
    return EndpointSecret(sealed=sealed, public_key=public, created_at=at)


def open_secret(sealer: Sealer, endpoint_id: str, secret: EndpointSecret) -> str:
    """Return a secret of the endpoint, `whsec_...` or `whsk_...`.

    Raises:
        CannotOpen: it was sealed with another key or for another endpoint, or is damaged.
    """
    return sealer.open(secret.sealed, endpoint_id, _SECRET)


def seal_headers(sealer: Sealer, endpoint_id: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with their values sealed: they may hold credentials, too."""
    return {name: sealer.seal(value, endpoint_id, _header(name)) for name, value in headers.items()}


def open_headers(sealer: Sealer, endpoint: WebhookEndpoint) -> dict[str, str]:
    """Return the endpoint's own headers.

    Raises:
        CannotOpen: one was sealed with another key or for another endpoint, or is damaged.
    """
    return {
        name: sealer.open(value, endpoint.endpoint_id, _header(name))
        for name, value in endpoint.headers.items()
    }


def _header(name: str) -> str:
    return f"header {name.lower()}"
