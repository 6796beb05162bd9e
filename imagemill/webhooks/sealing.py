"""Encrypt the secrets of endpoints, so that reading the topic does not reveal them.

AES-256-GCM with a random nonce. The endpoint's id and the name of the value are authenticated along
with it: a sealed secret that is copied to another endpoint does not open there.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from imagemill.process.secrets import own_secret
from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.shared import WebhookKeySettings

_VERSION = "a1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_KEY_ID_CHARS = 8
_VARIABLE = "IMAGEMILL_WEBHOOK_ENCRYPTION_KEY"


class CannotOpen(ValueError):
    """A sealed value cannot be opened: sealed with another key, for another place, or damaged."""


class Sealer:
    """Encrypts with the first of its keys, and decrypts with all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """`keys` have 32 bytes each; there must be one at least."""
        self._keys = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0])

    def seal(self, text: str, endpoint_id: str, name: str) -> str:
        """Return the text encrypted, for the value `name` of the endpoint alone."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._keys[self._first].encrypt(nonce, text.encode(), _place(endpoint_id, name))
        return f"{_VERSION}.{self._first}.{base64.b64encode(nonce + cipher).decode()}"

    def open(self, sealed: str, endpoint_id: str, name: str) -> str:
        """Return the text of a sealed value.

        Raises:
            CannotOpen: it was sealed with another key or for another place, or is damaged.
        """
        version, _, rest = sealed.partition(".")
        key_id, _, encoded = rest.partition(".")
        if version != _VERSION:
            raise CannotOpen(f"a secret of endpoint {endpoint_id} is of an unknown format")
        key = self._keys.get(key_id)
        if key is None:
            raise CannotOpen(
                f"a secret of endpoint {endpoint_id} was encrypted with key {key_id}, which is not "
                f"in {_VARIABLE}: set it to the same on all APIs and notifiers"
            )
        try:
            data = base64.b64decode(encoded, validate=True)
            text = key.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _place(endpoint_id, name))
        except (InvalidTag, ValueError) as error:
            raise CannotOpen(f"a secret of endpoint {endpoint_id} is damaged") from error
        return text.decode()


def open_sealer(settings: WebhookKeySettings) -> Sealer:
    """Return the sealer of this deployment: with the setting's keys, or the one in the home folder.

    Raises:
        SettingsInvalid: a key is not the base64 of 32 bytes.
        OSError: the key's file can neither be read nor created.
    """
    given = settings.webhook_encryption_key
    text = (given and given.get_secret_value()) or own_secret(
        settings, "webhook.key", _VARIABLE, new_key
    )
    return Sealer([_parsed(key) for key in text.split(",")])


def new_key() -> str:
    """Return a new random key, base64."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _parsed(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        # Not base64, or not even ASCII.
        key = b""
    if len(key) != _KEY_BYTES:
        raise SettingsInvalid(
            f"{_VARIABLE}, or webhook.key in the home when it is unset, must be the base64 of "
            f"{_KEY_BYTES} bytes, or several separated by commas"
        )
    return key


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"imagemill webhook key " + key).hexdigest()[:_KEY_ID_CHARS]


def _place(endpoint_id: str, name: str) -> bytes:
    return f"{endpoint_id}/{name}".encode()
