"""Keys as the topic `access.keys` has them, and a ring that has read them."""

from __future__ import annotations

from typing import Any

from producer_api.access.keys.ring import KeyMessage, KeyRing, revocation_key
from producer_api.access.keys.secret import hash_of, new_key_id, new_secret
from schemas import topics
from schemas.access import AccessKey, KeyRevoked, KeySecret
from schemas.times import now


def made_key(**fields: Any) -> tuple[AccessKey, str]:
    """Make a key and its secret; its owner is its id unless another is given."""
    key_id = new_key_id()
    secret = new_secret(key_id)
    key = AccessKey(
        **{"name": "a key", "owner": key_id, "created_at": now()} | fields,
        key_id=key_id,
        secrets=(stored(secret),),
    )
    return key, secret


def stored(secret: str, **fields: Any) -> KeySecret:
    """Make the stored form of a secret."""
    return KeySecret(sha256=hash_of(secret), last_four=secret[-4:], created_at=now(), **fields)


def key_message(key: AccessKey) -> KeyMessage:
    """Make the message of a key."""
    return KeyMessage(topics.ACCESS_KEYS.name, key.key_id.encode(), key.model_dump_json().encode())


def revocation(key: AccessKey) -> KeyMessage:
    """Make the message that revokes a key."""
    document = KeyRevoked(key_id=key.key_id, at=now(), by="a test").model_dump_json().encode()
    return KeyMessage(topics.ACCESS_KEYS.name, revocation_key(key.key_id), document)


def ring_of(*keys: AccessKey) -> KeyRing:
    """Make a ring that has read these keys."""
    ring = KeyRing()
    ring.apply([key_message(key) for key in keys], loaded=True)
    return ring
