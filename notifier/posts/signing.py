"""Signatures of Standard Webhooks over the id, the time and the body of a post."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import datetime

from standardwebhooks import Webhook

from imagemill.webhooks.secrets import Signature, hmac_key, private_key, scheme_of


def signatures(secrets: Iterable[str], message_id: str, at: datetime, body: str) -> str:
    """Return the header `webhook-signature`: a signature for each secret, separated by spaces.

    Raises:
        SecretInvalid: one is no secret of Standard Webhooks.
    """
    return " ".join(_signature(secret, message_id, at, body) for secret in secrets)


def _signature(secret: str, message_id: str, at: datetime, body: str) -> str:
    if scheme_of(secret) is Signature.HMAC:
        return Webhook(hmac_key(secret)).sign(message_id, at, body)
    signed = f"{message_id}.{int(at.timestamp())}.{body}".encode()
    signature = private_key(secret).sign(signed)
    return f"{Signature.ED25519},{base64.b64encode(signature).decode()}"
