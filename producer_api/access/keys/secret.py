"""The text of a key's secret: `im_`, the key id, random characters, a checksum.

The prefix and the checksum let scanners of source code and logs find secrets without false alarms,
as GitHub's tokens do: a text of that form whose checksum is wrong is none.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

PREFIX = "im_"
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
# Characters in base 62 (5.95 bits each): 12 tell keys apart, 24 are 142 bits that nobody guesses.
_ID_CHARS = 12
_RANDOM_CHARS = 24
_CHECKSUM_CHARS = 6
SECRET_CHARS = len(PREFIX) + _ID_CHARS + _RANDOM_CHARS + _CHECKSUM_CHARS


class NoSecret(Exception):
    """A text is no secret of a key; its own text is a sentence that says in which way."""


def new_key_id() -> str:
    """Make the id of a new key."""
    return _random(_ID_CHARS)


def new_secret(key_id: str) -> str:
    """Make another secret of a key."""
    body = PREFIX + key_id + _random(_RANDOM_CHARS)
    return body + _checksum(body)


def key_id_of(secret: str) -> str:
    """Return the key id that a secret names; nothing else of it is verified.

    Raises:
        NoSecret: the text has not the form of a secret, or its checksum is wrong.
    """
    if not secret.startswith(PREFIX):
        raise NoSecret(f"An API key begins with {PREFIX}.")
    if len(secret) != SECRET_CHARS or not set(secret[len(PREFIX) :]) <= set(_DIGITS):
        raise NoSecret(
            f"An API key has {SECRET_CHARS} characters, letters and digits after {PREFIX}; this "
            "one is cut off or has others."
        )
    if _checksum(secret[:-_CHECKSUM_CHARS]) != secret[-_CHECKSUM_CHARS:]:
        raise NoSecret("The API key is mistyped: its checksum is wrong.")
    return secret[len(PREFIX) : len(PREFIX) + _ID_CHARS]


def hash_of(secret: str) -> str:
    """Return the SHA-256 of a secret in hexadecimal digits, as keys store it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _random(count: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(count))


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
