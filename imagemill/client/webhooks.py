"""Verification of webhooks by their Standard Webhooks signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagemill.client.errors import ImagemillError


class WebhookInvalid(ImagemillError):
    """The request was not signed with this secret, was changed, or is too old."""


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the JSON of a webhook that was signed with the secret within the last 5 minutes.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    Args:
        secret: the endpoint's secret, `whsec_…`.
        headers: headers of the request, in any case.
        body: body of the request exactly as it came; JSON that was parsed and written again has
            another signature.

    Raises:
        WebhookInvalid: answer 401, and do not act on it.
    """
    # Imported here: a client that receives no webhooks should start without its parts.
    from standardwebhooks import Webhook, WebhookVerificationError

    try:
        return Webhook(secret).verify(
            body, {name.lower(): value for name, value in headers.items()}
        )
    except (WebhookVerificationError, ValueError) as error:
        raise WebhookInvalid(f"The webhook is refused: {error}.") from error
