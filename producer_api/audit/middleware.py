"""Records each request that changes something, or that is refused."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import hdrs, web

from imagemill.settings import ApiSettings
from imagemill.settings.server import parse_networks
from producer_api.access.caller import caller_of
from producer_api.access.guard import GUARD, Guard
from producer_api.access.scopes import SCOPES
from producer_api.audit.audit_log import AuditLog, Sender
from producer_api.audit.client_address import ClientAddresses
from producer_api.http.metrics import METRICS
from producer_api.http.problems import Handler
from producer_api.http.query import traceparent_of
from producer_api.http.routing import operation_id
from schemas.access import Scope
from schemas.audit import (
    MAX_PATH_CHARS,
    MAX_USER_AGENT_CHARS,
    AuditKind,
    AuditOutcome,
    AuditRecord,
)
from schemas.times import from_epoch
from schemas.topics import AUDIT

_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_REFUSED = frozenset({401, 403})
_READS_OF_FILES = frozenset(
    {
        "get_files_by_key",
        *(operation for operation, scopes in SCOPES.items() if Scope.RESULTS_READ in scopes),
    }
)
# Not redirects: theirs may be a presigned URL, which is a secret.
_MADE_STATUSES = frozenset({200, 201, 202})


class Auditor:
    """Decides which requests are recorded, and writes their records."""

    def __init__(self, settings: ApiSettings, guard: Guard, audit_log: AuditLog) -> None:
        """Record as the settings say; without a setting as long as the guard asks for keys."""
        self._on = settings.audit
        self._guard = guard
        self._log = audit_log
        self._addresses = ClientAddresses(parse_networks(settings.trusted_proxies))
        self._reads = _READS_OF_FILES if settings.audit_reads else frozenset()

    def note(self, request: web.Request, came_at_s: float, status: int | None) -> None:
        """Record a request that came at that Unix time, if it is one of those recorded.

        `status` is that of the answer; None if the client left before it.
        """
        if not (self._guard.required if self._on is None else self._on):
            return
        action = _action(request)
        changes = request.method not in _READING
        if changes or status in _REFUSED or action in self._reads:
            self._log.write(self._record(request, action, came_at_s, status))

    def _record(
        self, request: web.Request, action: str, came_at_s: float, status: int | None
    ) -> AuditRecord:
        caller = caller_of(request)
        return AuditRecord.trusted(
            audit_id=uuid.uuid4().hex,
            at=from_epoch(came_at_s),
            kind=AuditKind.REQUEST,
            action=action,
            outcome=_outcome(status),
            status=status,
            actor=caller.name,
            key_id=caller.key_id,
            owner=caller.owner,
            address=self._addresses.of(request),
            certificate=_certificate(request),
            user_agent=_printable(request.headers.get(hdrs.USER_AGENT), MAX_USER_AGENT_CHARS),
            method=request.method,
            path=_printable(request.path, MAX_PATH_CHARS),
            target=request.get(_MADE),
            traceparent=traceparent_of(request),
        )


AUDITOR = web.AppKey("auditor", Auditor)
# The path of what the request made.
_MADE = web.RequestKey("made", str)


def record_requests(app: web.Application, settings: ApiSettings, producer: Sender) -> None:
    """Write the records of the app's requests to the topic `audit`, as long as it runs."""
    audit_log = AuditLog(producer, settings.topic(AUDIT.name))
    app[AUDITOR] = Auditor(settings, app[GUARD], audit_log)
    app[METRICS].register(audit_log)

    async def writing(_app: web.Application) -> AsyncIterator[None]:
        audit_log.start()
        yield
        await audit_log.close()

    app.cleanup_ctx.append(writing)


@web.middleware
async def audit_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record the request once it is answered; the answer does not wait for that."""
    came_at_s = time.time()
    status: int | None = None
    try:
        response = await handler(request)
        status = response.status
        if status in _MADE_STATUSES and (location := response.headers.get(hdrs.LOCATION)):
            request[_MADE] = location.partition("?")[0]
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        request.app[AUDITOR].note(request, came_at_s, status)


def _action(request: web.Request) -> str:
    matched = request.match_info
    if matched.http_exception is not None or matched.route.resource is None:
        return ""
    method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
    return operation_id(method, matched.route.resource.canonical)


def _outcome(status: int | None) -> AuditOutcome:
    if status is None:
        return AuditOutcome.UNKNOWN
    if status in _REFUSED:
        return AuditOutcome.REFUSED
    return AuditOutcome.SUCCEEDED if status < 400 else AuditOutcome.FAILED


def _printable(text: str | None, most: int) -> str | None:
    """Return a client's text, clipped, as characters that a log or terminal may show."""
    if text is None:
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])


def _certificate(request: web.Request) -> str | None:
    """Return the subject of the client's certificate, such as `commonName=robot`."""
    transport = request.transport
    shown: dict[str, Any] | None = transport and transport.get_extra_info("peercert")
    if not shown:
        return None
    pairs = (pair for several in shown.get("subject", ()) for pair in several)
    return ",".join(f"{name}={value}" for name, value in pairs)
