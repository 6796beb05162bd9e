"""The guard of the API: finds the caller of each request, or refuses it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from aiohttp import hdrs, web

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.settings import ApiSettings
from imagemill.settings.environment import SettingsInvalid
from producer_api.access.authenticate import authenticate, authorize
from producer_api.access.caller import ANYONE, CALLER, NOBODY, Caller
from producer_api.access.credentials import AcceptedForms, find_credentials
from producer_api.access.keys.ring import KeyRing
from producer_api.access.keys.secret import PREFIX
from producer_api.access.problems import Unauthenticated, unauthenticated
from producer_api.access.scopes import PUBLIC, Scopes, scopes_of
from producer_api.http.problems import Handler
from producer_api.http.routing import Route, operation_id
from schemas.times import now

log = logging.getLogger(__name__)


class NoKeys(SettingsInvalid):
    """An API that the network reaches has no key, and is not open by setting."""


class TokenVerifier(Protocol):
    """Verifies bearer tokens that are no API keys, such as those of an OIDC issuer."""

    async def verify(self, token: str) -> Caller:
        """Return the caller that a token stands for.

        Raises:
            Unauthenticated: the token is not valid; the text is a sentence for its sender.
        """
        ...


class UseLog(Protocol):
    """Notes the use of keys."""

    def note(self, key_id: str) -> None:
        """Note that a request was made with that key just now."""
        ...


class Guard:
    """Finds the caller of each request.

    Keys are required as soon as there is one, where a token verifier is set, and on an address that
    the network reaches; there `IMAGEMILL_OPEN` lifts that as long as there is no key.
    """

    def __init__(
        self,
        settings: ApiSettings,
        ring: KeyRing,
        routes: Iterable[Route],
        uses: UseLog,
        verifier: TokenVerifier | None = None,
    ) -> None:
        """Guard these routes.

        Raises:
            ScopesMissing: a route is not in the table of scopes.
        """
        self._settings = settings
        self._expected = settings.expects_keys
        self._ring = ring
        self._uses = uses
        self._verifier = verifier
        self._scopes = scopes_of(routes)
        self._forms = AcceptedForms(basic=settings.access_basic, query=settings.access_query)

    @property
    def required(self) -> bool:
        """True if requests need a key or a token."""
        return self._ring.has_keys or self._verifier is not None or self._expected

    async def check_start(self) -> None:
        """Wait for the keys if the network reaches this API, and refuse to go on without any.

        While the broker cannot be read the API starts, and answers 503 to all that needs a key.

        Raises:
            NoKeys: there is no key, and no other way in.
        """
        settings = self._settings
        if settings.on_loopback or self._verifier is not None:
            return
        if not await self._ring.wait_loaded(settings.delivery_timeout_s):
            log.warning("The API keys are not read yet: requests are answered 503 until they are")
        elif not self._ring.has_keys and not settings.open_without_keys:
            raise NoKeys(
                f"the API would be open to everybody who reaches {settings.host}: create a key "
                "with `imagemill keys create --name first --admin`, or set IMAGEMILL_OPEN=yes to "
                "serve without keys"
            )
        elif self._ring.has_keys and settings.open_without_keys:
            log.warning("IMAGEMILL_OPEN has no effect: there are API keys, so one is required")

    async def admit(self, request: web.Request) -> Caller:
        """Return the caller of a request.

        Raises:
            Problem: 401 without valid credentials, 403 if the caller lacks a scope.
            KafkaUnavailable: the keys could not be read since the start.
        """
        needed = self._needed(request)
        if needed == PUBLIC:
            return NOBODY if self.required else ANYONE
        # Kept short: before the keys are here, this API may not even know that it needs any.
        if not await self._ring.wait_loaded(self._settings.catch_up_timeout_s):
            raise KafkaUnavailable("the API keys are not read yet")
        if not self.required:
            return ANYONE
        try:
            caller = await self._authenticated(request)
        except Unauthenticated as refusal:
            raise unauthenticated(refusal, basic=self._forms.basic) from refusal
        # Before it may be refused: the audit record of a 403 says who it was.
        request[CALLER] = caller
        authorize(caller, needed)
        return caller

    def _needed(self, request: web.Request) -> Scopes:
        """Return the scopes of the request's operation; none for one that is answered 404 or 405.

        A request that no route takes has no operation, and gets the same answer with and without
        a key; preflights of browsers, which carry none, are among them.
        """
        matched = request.match_info
        if matched.http_exception is not None:
            return PUBLIC
        resource = matched.route.resource
        assert resource is not None
        method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
        return self._scopes[operation_id(method, resource.canonical)]

    async def _authenticated(self, request: web.Request) -> Caller:
        text = find_credentials(request.headers, request.query, self._forms)
        if self._verifier is not None and not text.startswith(PREFIX):
            return await self._verifier.verify(text)
        caller = authenticate(text, self._ring, now())
        assert caller.key_id is not None
        self._uses.note(caller.key_id)
        return caller


GUARD = web.AppKey("guard", Guard)


@web.middleware
async def access_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the caller of the request, or answer 401 or 403."""
    request[CALLER] = await request.app[GUARD].admit(request)
    return await handler(request)
