"""Verifies the bearer tokens of an OIDC issuer."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from math import isfinite
from typing import Any

from aiohttp import web
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning

from imagemill.settings.oidc import OidcSettings, parse_list
from producer_api.access.caller import Caller
from producer_api.access.oidc.claims import ClaimsMapping
from producer_api.access.oidc.issuer_keys import IssuerKeys, IssuerUnavailable
from producer_api.access.problems import Unauthenticated
from producer_api.http.problems import RETRY_AFTER_S, Problem

# RFC 9864 renamed EdDSA to Ed25519, and joserfc warns of it at each token; issuers still use it.
warnings.filterwarnings("ignore", "EdDSA", SecurityWarning)

# Some issuers put a chain of certificates into the header.
_MAX_HEADER_BYTES = 8 * 1024
_MALFORMED = "The bearer token is neither an API key nor a signed token (JWT)."


class OidcVerifier:
    """Turns valid tokens of the issuer into callers: a TokenVerifier."""

    def __init__(
        self, settings: OidcSettings, keys: IssuerKeys, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` returns Unix seconds."""
        self._issuer = settings.oidc_issuer
        self._audiences = parse_list(settings.oidc_audience or "")
        self._algorithms = parse_list(settings.oidc_algorithms)
        self._leeway_s = settings.oidc_leeway_s
        # RFC 7515, 4: header parameters that are not understood are ignored; issuers add some.
        self._registry = jws.JWSRegistry(
            algorithms=sorted(self._algorithms), strict_check_header=False
        )
        self._registry.max_header_length = _MAX_HEADER_BYTES
        self._mapping = ClaimsMapping(settings)
        self._keys = keys
        self._clock = clock

    async def verify(self, token: str) -> Caller:
        """Return the caller of a token.

        Raises:
            Unauthenticated: the token is not valid; the text says why.
            Problem: 503, as the issuer's keys could not be fetched.
        """
        claims = await self._signed_claims(token)
        self._check(claims)
        return self._mapping.caller(claims)

    async def _signed_claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token whose signature is the issuer's."""
        algorithm, key_id = self._header(token)
        try:
            key = await self._keys.find(key_id, algorithm)
        except IssuerUnavailable as error:
            raise Problem(
                503,
                "issuer_unavailable",
                "Tokens cannot be verified, as their issuer does not answer. Try again shortly.",
                headers={"Retry-After": RETRY_AFTER_S},
            ) from error
        if key is None:
            raise Unauthenticated("The token is signed with a key that its issuer does not have.")
        try:
            # The algorithm is the one that the key was found for.
            return jwt.decode(token, key, [algorithm], self._registry).claims
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated(
                "The signature of the token or its header is not valid."
            ) from error

    def _header(self, token: str) -> tuple[str, str | None]:
        """Return algorithm and key id of a token, which are not verified yet."""
        try:
            header = jws.extract_compact(token.encode(), registry=self._registry).headers()
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated(_MALFORMED) from error
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise Unauthenticated("The token is signed by an algorithm that is not taken here.")
        if key_id is not None and not isinstance(key_id, str):
            raise Unauthenticated(_MALFORMED)
        return algorithm, key_id

    def _check(self, claims: Mapping[str, Any]) -> None:
        """Raise Unauthenticated unless the token is of the issuer, for us, and valid now."""
        if claims.get("iss") != self._issuer:
            raise Unauthenticated("The token is of another issuer than this API trusts.")
        audience = claims.get("aud")
        named = {audience} if isinstance(audience, str) else set(_texts(audience))
        if not named & self._audiences:
            wanted = ", ".join(sorted(self._audiences))
            raise Unauthenticated(f"The token is for another audience; ask for one for {wanted}.")
        now = self._clock()
        expires, begins, made = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is None:
            raise Unauthenticated("The token has no time of expiry (exp).")
        if now >= expires + self._leeway_s:
            raise Unauthenticated("The token has expired; get a new one.")
        if max(begins or 0, made or 0) > now + self._leeway_s:
            raise Unauthenticated("The token is not valid yet; are the clocks right?")


def take_tokens(app: web.Application, settings: OidcSettings) -> OidcVerifier | None:
    """Return the verifier of the settings' issuer, with keys that come and go with the app.

    Return None without an issuer. The issuer need not answer when the app starts: tokens are
    answered 503 until it has.

    Raises:
        SettingsInvalid: the file of the issuer's CA cannot be used.
    """
    if settings.oidc_issuer is None:
        return None
    keys = IssuerKeys(settings)

    async def fetching(_app: web.Application) -> AsyncIterator[None]:
        keys.start()
        yield
        await keys.close()

    app.cleanup_ctx.append(fetching)
    return OidcVerifier(settings, keys)


def _texts(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a time of the token in Unix seconds; None if it has none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Unauthenticated(f"The claim {name} of the token is no number of seconds.")
    return float(value)
