"""Secrets that sign webhooks: `whsec_` for HMAC-SHA256, `whsk_` for ed25519 (Standard Webhooks)."""

from __future__ import annotations

import base64
import secrets
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_HMAC = "whsec_"
_PRIVATE = "whsk_"
_PUBLIC = "whpk_"
_MADE_BYTES = 32
_MIN_BYTES = 24
_MAX_BYTES = 64
_SEED_BYTES = 32


class Signature(StrEnum):
    """A signature scheme of Standard Webhooks, as in the header `webhook-signature`."""

    HMAC = "v1"
    """HMAC-SHA256 with a secret that both sides know."""
    ED25519 = "v1a"
    """An ed25519 signature: receivers have the public key only."""


class SecretInvalid(ValueError):
    """The text is no secret of Standard Webhooks; it says why, and never the secret."""


def new_secret(scheme: Signature = Signature.HMAC) -> str:
    """Return a new random secret of the scheme."""
    prefix = _HMAC if scheme is Signature.HMAC else _PRIVATE
    return prefix + base64.b64encode(secrets.token_bytes(_MADE_BYTES)).decode()


def scheme_of(secret: str) -> Signature:
    """Return the scheme of a secret.

    Raises:
        SecretInvalid: it is neither `whsec_` and the base64 of 24 to 64 bytes, nor `whsk_` and the
            base64 of an ed25519 key.
    """
    if secret.startswith(_HMAC):
        hmac_key(secret)
        return Signature.HMAC
    private_key(secret)
    return Signature.ED25519


def hmac_key(secret: str) -> bytes:
    """Return the bytes of a `whsec_` secret.

    Raises:
        SecretInvalid: it is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    key = _decoded(secret, _HMAC)
    if not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise SecretInvalid(
            f"a secret must be whsec_ and the base64 of {_MIN_BYTES} to {_MAX_BYTES} bytes, or "
            "whsk_ and the base64 of an ed25519 key"
        )
    return key


def private_key(secret: str) -> Ed25519PrivateKey:
    """Return the key of a `whsk_` secret: its 32 bytes, or 64 with the public key after them.

    Raises:
        SecretInvalid: it is not one, or the two halves do not belong together.
    """
    data = _decoded(secret, _PRIVATE)
    if len(data) not in (_SEED_BYTES, 2 * _SEED_BYTES):
        raise SecretInvalid("a secret of ed25519 must be whsk_ and the base64 of 32 or 64 bytes")
    key = Ed25519PrivateKey.from_private_bytes(data[:_SEED_BYTES])
    if data[_SEED_BYTES:] not in (b"", key.public_key().public_bytes_raw()):
        raise SecretInvalid("the public half of the ed25519 secret does not belong to it")
    return key


def public_key(secret: str) -> str | None:
    """Return the `whpk_` key that receivers verify with; None for a `whsec_` secret.

    Raises:
        SecretInvalid: the secret is of neither scheme.
    """
    if scheme_of(secret) is Signature.HMAC:
        return None
    return _PUBLIC + base64.b64encode(private_key(secret).public_key().public_bytes_raw()).decode()


def _decoded(secret: str, prefix: str) -> bytes:
    """Return the bytes after the prefix; none where the text has another form."""
    if not secret.startswith(prefix):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except ValueError:
        # Not base64, or not even ASCII.
        return b""
