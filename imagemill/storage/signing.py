"""Signed URLs of the API's files route that expire."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from imagemill.process.secrets import own_secret
from imagemill.settings.storage import MIN_SIGNING_SECRET_CHARS, revealed
from imagemill.storage.base import UploadTarget
from imagemill.storage.keys import check_key

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

# Text that quoting leaves as it is, by the further characters that are safe there.
_PLAIN = {safe: re.compile(f"[A-Za-z0-9_.~{safe}-]+").fullmatch for safe in ("", "/", "/=")}
# Proxies and trackers may add other query parameters; those are ignored.
_SIGNED_EXTRAS = ("content_type", "filename", "bytes")


class SignatureRefused(Exception):
    """The URL was not signed with our secret, was changed since, or has expired."""


class SignedRequest(NamedTuple):
    """A request that a valid URL allows; `expires` is in Unix seconds.

    `bytes` is the size that an upload must have, None for any within the limits.
    """

    method: str
    key: str
    expires: int
    filename: str | None
    content_type: str | None
    bytes: int | None


class UrlSigner:
    """Signs and checks URLs with HMAC-SHA256 over method, key, expiry, file name and type."""

    def __init__(self, secret: str) -> None:
        """Sign with a secret that is the same in every process.

        Raises:
            ValueError: the secret has fewer than MIN_SIGNING_SECRET_CHARS characters.
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
        size: int | None = None,
    ) -> str:
        """Return `{key}?expires=..&signature=..`, to be appended to the URL of the files route.

        `expires` is in Unix seconds. `filename` and `content_type` go into the answer's headers
        and are signed too, so that a holder of the URL cannot turn a picture into a web page.
        `size` is that of an upload, in bytes.
        """
        query = {"expires": str(expires)}
        if content_type is not None:
            query["content_type"] = content_type
        if filename is not None:
            query["filename"] = filename
        if size is not None:
            query["bytes"] = str(size)
        query["signature"] = self._signature(method, key, query)
        parameters = "&".join(f"{name}={_quoted(value)}" for name, value in query.items())
        return f"{_quoted(key, safe='/')}?{parameters}"

    def verify(
        self, method: str, key: str, query: Mapping[str, str], now: float | None = None
    ) -> SignedRequest:
        """Return the request that a URL allows; one for GET allows HEAD too.

        `query` holds the decoded parameters, `now` is in Unix seconds.

        Raises:
            SignatureRefused: the signature does not belong to the URL, or the URL has expired.
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
        size = int(query["bytes"]) if "bytes" in query else None
        return SignedRequest(
            method, key, expires, query.get("filename"), query.get("content_type"), size
        )

    def _signature(self, method: str, key: str, query: Mapping[str, str]) -> str:
        fields = [method, key, query.get("expires", "")]
        fields += [f"{name}={query[name]}" for name in _SIGNED_EXTRAS if name in query]
        # Each field ends with a byte that no quoted field contains, so no two lists sign alike.
        message = "".join(_quoted(field, safe="/=") + "\n" for field in fields)
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()


def _quoted(text: str, safe: str = "") -> str:
    # `quote` takes longer than all else here, and a document of a batch has 2000 URLs.
    if _PLAIN[safe](text):
        return text
    return quote(text, safe=safe, errors="replace")


class ApiUrls:
    """Makes signed URLs of the API's files route, whatever store the objects lie in."""

    def __init__(self, base_url: str, signer: UrlSigner) -> None:
        """Make URLs that begin with `base_url`, at which clients reach the API."""
        self._base_url = base_url.rstrip("/")
        self._signer = signer

    def get(
        self,
        key: str,
        expires_s: int,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a URL to read an object at for `expires_s` seconds. Raises InvalidKey."""
        expires = int(time.time()) + expires_s
        path = self._signer.path("GET", check_key(key), expires, filename, content_type)
        return f"{self._base_url}/files/{path}"

    def put(
        self, key: str, expires_s: int, content_type: str, size: int | None = None
    ) -> UploadTarget:
        """Return a request that uploads an object for `expires_s` seconds. Raises InvalidKey.

        The API takes `size` bytes exactly, or any number within its limit for an image.
        """
        expires = int(time.time()) + expires_s
        path = self._signer.path("PUT", check_key(key), expires, None, content_type, size)
        return UploadTarget(f"{self._base_url}/files/{path}", "PUT", {"Content-Type": content_type})


def open_signer(settings: StoreSettings) -> UrlSigner:
    """Return the signer of the API's URLs; without a setting, its secret is generated.

    Raises:
        ValueError: the secret is too short.
        OSError: the secret's file can neither be read nor created.
    """
    return UrlSigner(
        revealed(settings.signing_secret)
        or own_secret(settings, "signing.secret", "IMAGEMILL_SIGNING_SECRET", secrets.token_urlsafe)
    )
