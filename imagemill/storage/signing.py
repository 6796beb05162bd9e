"""Signed, expiring URLs of our own, for stores that cannot presign."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from imagemill.settings.storage import MIN_SIGNING_SECRET_CHARS

# Other query names may be added by proxies and trackers and mean nothing to us.
_SIGNED_EXTRAS = ("content_type", "filename")


class SignatureRefused(Exception):
    """The URL was not signed by us, was changed since, or its time is over."""


class SignedRequest(NamedTuple):
    """What a URL that passed allows; `expires` is in Unix seconds."""

    method: str
    key: str
    expires: int
    filename: str | None
    content_type: str | None


class UrlSigner:
    """Signs and checks URLs with HMAC-SHA256 over method, key, expiry and the response's names."""

    def __init__(self, secret: str) -> None:
        """`secret` is any text, the same in every process.

        It has at least MIN_SIGNING_SECRET_CHARS characters.

        Raises:
            ValueError: the secret is too short to protect anything.
        """
        if len(secret) < MIN_SIGNING_SECRET_CHARS:
            raise ValueError(
                f"the signing secret must have at least {MIN_SIGNING_SECRET_CHARS} characters"
            )
        self._secret = secret.encode()

    def path(
        self,
        method: str,
        key: str,
        expires: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """`{key}?expires=..&signature=..`, to stand behind the address of the files route.

        `expires` is in Unix seconds; `filename` and `content_type` go into the answer's headers
        and are signed too, so that a holder of the URL cannot turn a picture into a web page.
        """
        query = {"expires": str(expires)}
        if content_type is not None:
            query["content_type"] = content_type
        if filename is not None:
            query["filename"] = filename
        query["signature"] = self._signature(method, key, query)
        return f"{quote(key)}?{urlencode(query, errors='replace', quote_via=quote)}"

    def verify(
        self, method: str, key: str, query: Mapping[str, str], now: float | None = None
    ) -> SignedRequest:
        """What the URL allows. A URL for GET serves HEAD too.

        `query` holds the decoded parameters, `now` is in Unix seconds.

        Raises:
            SignatureRefused: see there.
        """
        method = "GET" if method == "HEAD" else method
        expected = self._signature(method, key, query)
        given = query.get("signature", "")
        # compare_digest takes text only when it is ASCII.
        if not hmac.compare_digest(expected.encode(), given.encode(errors="replace")):
            raise SignatureRefused("the signature does not belong to this URL")
        expires = int(query["expires"])
        if expires < (time.time() if now is None else now):
            raise SignatureRefused("this URL has expired")
        return SignedRequest(method, key, expires, query.get("filename"), query.get("content_type"))

    def _signature(self, method: str, key: str, query: Mapping[str, str]) -> str:
        fields = [method, key, query.get("expires", "")]
        fields += [f"{name}={query[name]}" for name in _SIGNED_EXTRAS if name in query]
        # Every field ends with a byte no field contains once quoted: no two lists look the same.
        message = "".join(quote(field, safe="/=", errors="replace") + "\n" for field in fields)
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()
