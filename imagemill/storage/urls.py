"""URLs that clients read results and send uploads at without a key, and when they end."""

from __future__ import annotations

import logging
import multiprocessing
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qs, urlsplit

from imagemill.storage.base import ObjectStore, UploadTarget
from imagemill.storage.signing import ApiUrls, open_signer

if TYPE_CHECKING:
    from imagemill.settings import StoreSettings

log = logging.getLogger(__name__)

# Seconds by which the clocks of two machines may differ.
_CLOCK_SKEW_S = 60
# Of a URL of the API; not parsed as others are, since a document of a batch has 2000 of them.
_OUR_END = re.compile(r"[?&]expires=([0-9]{1,12})(?:&|$)").search


class Lifetime(Protocol):
    """The time that URLs of results live; it may change while a service runs."""

    @property
    def seconds(self) -> int:
        """Seconds from the signing on."""
        ...


class FixedLifetime(NamedTuple):
    """A lifetime that does not change."""

    seconds: int


class ObjectUrls:
    """Signs URLs of objects for whoever holds them: of the API where it has a public URL.

    Such a URL of a result redirects to one of the store, which the API signs when it is asked. It
    so outlives the store's credentials, which for roles end within hours. Without a public URL of
    the API it is the store's own, and ends with them.
    """

    def __init__(self, store: ObjectStore, api: ApiUrls | None, lifetime: Lifetime) -> None:
        """Sign URLs of results for that lifetime; without `api` by the store."""
        self._store = store
        self._api = api
        self._lifetime = lifetime

    @property
    def blocks(self) -> bool:
        """True where signing may wait for the network, to renew the store's credentials."""
        return self._api is None and self._store.remote

    def sign(self, key: str, content_type: str | None = None) -> str:
        """Return a URL of an object that begins to live now.

        Raises:
            InvalidKey: no object can have that key.
            StoreUnavailable: the store has no credentials to sign with.
        """
        if self._api is not None:
            return self._api.get(key, self._lifetime.seconds, None, content_type)
        return self._store.url(key, self._lifetime.seconds, content_type=content_type)

    def current(self, result: Mapping[str, Any]) -> str | None:
        """Return the URL of an item's result, signed again if less than half its life is left.

        One that would live longer than this signer's is signed again too. Returns None for a
        result without a file. Raises as `sign`.
        """
        key, url = result.get("key"), result.get("url")
        if key is None:
            return url
        if url is not None:
            ends = end_of(url)
            left_s = ends - time.time() if ends is not None else -1
            expires_s = self._lifetime.seconds
            if expires_s / 2 <= left_s <= expires_s + _CLOCK_SKEW_S:
                return url
        return self.sign(key, result.get("content_type"))

    def upload(self, key: str, expires_s: int, content_type: str, size: int | None) -> UploadTarget:
        """Return a request that uploads an object for `expires_s` seconds.

        A store cannot limit an upload of unknown size, so such a one goes through the API where
        it has a public URL. May wait for the network, as `sign`. Raises as `sign`.
        """
        if size is None and self._api is not None:
            return self._api.put(key, expires_s, content_type)
        return self._store.upload_url(key, expires_s, content_type, size)

    def renewed(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return an item's result with its current URL, where signing one needs no network.

        A URL that was left out of a large event stays out. Raises as `sign`.
        """
        url = result.get("url")
        if url is None or self.blocks:
            return result
        current = self.current(result)
        return result if current == url else {**result, "url": current}


def open_object_urls(
    settings: StoreSettings, store: ObjectStore, lifetime: Lifetime | None = None
) -> ObjectUrls:
    """Return the signer of result URLs that the settings choose.

    A folder's URLs are always the API's. Those of a bucket are if IMAGEMILL_PUBLIC_URL is set and
    all services certainly have one signing secret. Without `lifetime` the settings decide alone:
    only the API knows whether there are keys.

    Raises:
        ValueError: the signing secret is too short.
        OSError: the signing secret's file can neither be read nor created.
    """
    api = None
    if store.remote and settings.public_url and settings.shares_signing_secret:
        api = ApiUrls(settings.public_base_url, open_signer(settings))
    # Logged by the main process only, not by each of its children.
    elif store.remote and settings.public_url and multiprocessing.parent_process() is None:
        log.warning(
            "the object store presigns result URLs: to give out URLs of %s, set "
            "IMAGEMILL_SIGNING_SECRET to one value for all APIs and processors",
            settings.public_url,
        )
    if lifetime is None:
        lifetime = FixedLifetime(settings.result_url_s(with_keys=settings.expects_keys))
    return ObjectUrls(store, api, lifetime)


def end_of(url: str) -> float | None:
    """Return the time at which a signed URL ends, in Unix seconds; None if it does not say."""
    if ours := _OUR_END(url):
        return float(ours[1])
    query = parse_qs(urlsplit(url).query)

    def value(name: str) -> str:
        return query.get(name, [""])[0]

    try:
        if "X-Amz-Date" in query:
            began = datetime.strptime(value("X-Amz-Date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return began.timestamp() + int(value("X-Amz-Expires"))
        if "se" in query:
            return datetime.fromisoformat(value("se")).timestamp()
    except ValueError:
        return None
    return None
