"""The public keys of an OIDC issuer: fetched, kept, and fetched again when they change."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from imagemill.net.addresses import AddressPolicy
from imagemill.net.errors import UrlRefused
from imagemill.net.guard import UrlGuard, guarded_session
from imagemill.settings.environment import SettingsInvalid
from imagemill.settings.oidc import OidcSettings

log = logging.getLogger(__name__)

PublicKey = RSAKey | ECKey | OKPKey

# Seconds between two fetches at least, whatever tokens come: otherwise each token with an invented
# key id would be a request to the issuer.
FLOOR_S = 10.0
# Seconds after which keys are fetched again; until the answer is there the old ones are used.
REFRESH_S = 600.0
# Seconds that keys are used while the issuer cannot be reached.
MAX_AGE_S = 24 * 3600.0
_TIMEOUT_S = 5.0
_MAX_BYTES = 1024 * 1024
# RFC 7518, 3.3.
_MIN_RSA_BITS = 2048
_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class IssuerUnavailable(Exception):
    """The issuer's keys could not be fetched, so no token can be verified."""


class IssuerKeys:
    """The keys of one issuer; `find` fetches them when that is needed.

    The issuer's URL and that of IMAGEMILL_OIDC_JWKS_URL are the operator's, so they may be at a
    private address. A `jwks_uri` that the issuer names may be on the same host, or at a public
    address: the guard of all outgoing requests refuses others.
    """

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds.

        Raises:
            SettingsInvalid: the file of CA certificates cannot be used.
        """
        self._issuer = settings.oidc_issuer or ""
        self._jwks_url = settings.oidc_jwks_url
        self._clock = clock
        own = {urlsplit(url).hostname for url in (self._issuer, self._jwks_url) if url}
        hosts = frozenset(host.rstrip(".").lower() for host in own if host)
        self._guard = UrlGuard(AddressPolicy(hosts=hosts))
        self._tls = _tls(settings.oidc_ca) if settings.oidc_ca else None
        self._keys: list[PublicKey] | None = None
        self._fetched_at_s = 0.0
        self._next_fetch_s = clock()
        self._fetching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Fetch the keys in the background, so that the first token need not wait for them."""
        self._begin_fetch()

    async def close(self) -> None:
        """Stop a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def find(self, key_id: str | None, algorithm: str) -> PublicKey | None:
        """Return the key with which a token was signed; None if the issuer has no such key.

        A token without a key id is verified with the only key that fits its algorithm.

        Raises:
            IssuerUnavailable: the keys could not be fetched.
        """
        age_s = self._clock() - self._fetched_at_s
        if self._keys is None or age_s > MAX_AGE_S:
            await self._fetched()
        elif age_s > REFRESH_S:
            self._begin_fetch()
        if (found := self._find(key_id, algorithm)) is not None:
            return found
        await self._fetched()
        return self._find(key_id, algorithm)

    def _find(self, key_id: str | None, algorithm: str) -> PublicKey | None:
        if self._keys is None or self._clock() - self._fetched_at_s > MAX_AGE_S:
            raise IssuerUnavailable(f"the keys of {self._issuer} could not be fetched")
        fitting = [key for key in self._keys if _fits(key, algorithm)]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == key_id), None)

    async def _fetched(self) -> None:
        """Wait for a fetch, unless the last one was just now."""
        self._begin_fetch()
        if self._fetching is not None:
            # Not cancelled with the request that waits: others may wait too.
            await asyncio.shield(self._fetching)

    def _begin_fetch(self) -> None:
        if self._fetching is not None and not self._fetching.done():
            return
        self._fetching = None
        if self._clock() >= self._next_fetch_s:
            self._next_fetch_s = self._clock() + FLOOR_S
            self._fetching = asyncio.create_task(self._fetch(), name="issuer keys")

    async def _fetch(self) -> None:
        """Fetch the keys; if that fails the old ones stay, and the reason is logged."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                keys = await self._request_keys()
        except TimeoutError:
            log.warning("the OIDC issuer %s did not answer within %g s", self._issuer, _TIMEOUT_S)
        except (IssuerUnavailable, UrlRefused, aiohttp.ClientError) as error:
            log.warning("the keys of the OIDC issuer %s cannot be had: %s", self._issuer, error)
        else:
            if self._keys is None:
                log.info("the OIDC issuer %s has %d usable keys", self._issuer, len(keys))
            self._keys = keys
            self._fetched_at_s = self._clock()

    async def _request_keys(self) -> list[PublicKey]:
        # A session for each fetch: they are minutes apart, and the issuer may change its address.
        async with guarded_session(
            self._guard,
            tls=self._tls,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        ) as session:
            url = self._jwks_url
            if url is None:
                url = await self._discover(session)
            document = await _get_json(session, url)
        entries = document.get("keys")
        if not isinstance(entries, list):
            raise IssuerUnavailable(f"{url} is no set of keys (JWKS)")
        keys = [key for entry in entries if (key := _imported(entry)) is not None]
        if not keys:
            raise IssuerUnavailable(f"{url} has no public key that verifies signatures")
        return keys

    async def _discover(self, session: aiohttp.ClientSession) -> str:
        """Return the URL of the keys from the issuer's configuration (OIDC Discovery, 4)."""
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document = await _get_json(session, url)
        if document.get("issuer") != self._issuer:
            raise IssuerUnavailable(
                f"{url} is of another issuer, {document.get('issuer')!r}; IMAGEMILL_OIDC_ISSUER "
                "must be exactly that"
            )
        found = document.get("jwks_uri")
        if not isinstance(found, str):
            raise IssuerUnavailable(f"{url} names no jwks_uri")
        if urlsplit(found).scheme != urlsplit(self._issuer).scheme:
            raise IssuerUnavailable(f"{url} names a jwks_uri without TLS, {found!r}")
        return found


def _tls(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise SettingsInvalid(
            f"IMAGEMILL_OIDC_CA: {ca} holds no CA certificates that can be read (PEM): {error}"
        ) from error


async def _get_json(session: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    # No redirects: where the answer comes from is what makes it the issuer's.
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise IssuerUnavailable(f"{url} answered with status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise IssuerUnavailable(f"the answer of {url} has more than {_MAX_BYTES} bytes")
    try:
        document = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise IssuerUnavailable(f"{url} did not answer JSON: {error}") from error
    if not isinstance(document, dict):
        raise IssuerUnavailable(f"{url} did not answer a JSON object")
    return document


def _imported(entry: Any) -> PublicKey | None:
    """Return a public key for signatures; None for any other entry of a set."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    # Never `oct`: a public secret would verify what anybody signed.
    if entry.get("kty") not in _TYPES.values():
        return None
    try:
        key = JWKRegistry.import_key(entry)
        public = key.public_key
    except (JoseError, ValueError, TypeError) as error:
        log.debug("a key of the OIDC issuer is unusable: %s", error)
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < _MIN_RSA_BITS:
        return None
    return key


def _fits(key: PublicKey, algorithm: str) -> bool:
    return key.key_type == _TYPES[algorithm[:2]] and key.alg in (None, algorithm)
