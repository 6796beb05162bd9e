"""Webhook endpoints of callers: found in the read model, and changed on `webhooks.endpoints`."""

from __future__ import annotations

import asyncio
import secrets
from typing import NamedTuple

from imagemill.kafka.producer import AsyncProducer
from imagemill.net.errors import UrlBlocked
from imagemill.net.guard import UrlGuard
from imagemill.settings import ApiSettings
from imagemill.webhooks.endpoints import open_secret, seal_headers, seal_secret
from imagemill.webhooks.sealing import CannotOpen, Sealer
from imagemill.webhooks.secrets import SecretInvalid, new_secret
from producer_api.access.authenticate import authorize_change
from producer_api.access.caller import Caller
from producer_api.http.problems import Problem, field_problem
from producer_api.read_model.changes import fields_of
from producer_api.read_model.read_model import ReadModel
from producer_api.read_model.records import decoded
from producer_api.webhooks.bodies import (
    EndpointChange,
    EndpointCreate,
    SecretRotation,
    check_headers,
)
from schemas import topics
from schemas.cloudevents import DecodeError
from schemas.times import now
from schemas.webhooks import EndpointSecret, EndpointStatus, WebhookEndpoint

_ENDPOINTS = topics.WEBHOOKS_ENDPOINTS.name
_STATUSES = topics.WEBHOOKS_ENDPOINT_STATUS.name
_ID_BYTES = 12


class FoundEndpoint(NamedTuple):
    """An endpoint, and what the notifier found out about it."""

    endpoint: WebhookEndpoint
    status: EndpointStatus | None


class Endpoints:
    """Reads and changes endpoints; each caller those that it may see."""

    def __init__(
        self,
        settings: ApiSettings,
        producer: AsyncProducer,
        read_model: ReadModel,
        guard: UrlGuard,
        sealer: Sealer,
    ) -> None:
        self._settings = settings
        self._producer = producer
        self._read_model = read_model
        self._guard = guard
        self._sealer = sealer
        # A change is made of what was read before it. Between two processes the later one wins.
        self._changing = asyncio.Lock()

    async def all_of(self, caller: Caller) -> list[FoundEndpoint]:
        """Return the endpoints that the caller may see, the oldest first.

        Raises:
            ReadModelBehind, KafkaUnavailable: as `ReadModel.find`.
        """
        await self._read_model.catch_up()
        documents = self._read_model.queries.documents(_ENDPOINTS)
        # Of thousands, most are other owners': to read one field takes a quarter of decoding it.
        named = (name for name, document in documents if caller.sees(_owner_of(document)))
        found = [endpoint for endpoint in map(self._read, named) if endpoint is not None]
        return sorted(found, key=lambda each: (each.endpoint.created_at, each.endpoint.endpoint_id))

    async def find(self, caller: Caller, endpoint_id: str) -> FoundEndpoint:
        """Return an endpoint. Raises as `all_of`.

        Raises:
            Problem: 404 when there is none, or the caller may not see it.
        """
        await self._read_model.catch_up(endpoint_id)
        found = self._read(endpoint_id)
        if found is None or not caller.sees(found.endpoint.owner):
            raise Problem(404, "not_found", f"There is no webhook endpoint {endpoint_id[:64]}.")
        return found

    async def find_to_change(self, caller: Caller, endpoint_id: str) -> FoundEndpoint:
        """Return an endpoint that the caller may change. Raises as `find`.

        Raises:
            Problem: 403 when it is another owner's, and the caller is no administrator.
        """
        found = await self.find(caller, endpoint_id)
        authorize_change(caller, found.endpoint.owner)
        return found

    async def create(self, caller: Caller, body: EndpointCreate) -> tuple[FoundEndpoint, str]:
        """Create an endpoint of the caller; return it with its secret. Raises as `all_of`.

        Raises:
            Problem: 403 when the caller may not name URLs, 409 when it has as many endpoints as it
                may have, 422 for a URL that is blocked or a secret that is none.
        """
        self._check_url(caller, body.url)
        secret = body.secret or new_secret(body.signature)
        async with self._changing:
            await self._check_count(caller)
            at = now()
            endpoint_id = f"ep_{secrets.token_hex(_ID_BYTES)}"
            endpoint = WebhookEndpoint(
                endpoint_id=endpoint_id,
                owner=caller.owner,
                url=body.url,
                description=body.description,
                events=body.events,
                headers=seal_headers(self._sealer, endpoint_id, body.headers),
                body=body.body,
                disabled=body.disabled,
                secrets=(self._sealed(endpoint_id, secret, at),),
                created_at=at,
                updated_at=at,
                enabled_at=at,
            )
            await self._publish(endpoint)
        return FoundEndpoint(endpoint, None), secret

    async def change(self, caller: Caller, endpoint_id: str, body: EndpointChange) -> FoundEndpoint:
        """Change the fields of an endpoint that are given. Raises as `find_to_change`, `create`."""
        if body.url is not None:
            self._check_url(caller, body.url)
        given = {name: value for name, value in dict(body).items() if value is not None}
        disabled, headers = given.pop("disabled", None), given.pop("headers", {})
        async with self._changing:
            endpoint, status = await self.find_to_change(caller, endpoint_id)
            given["headers"] = self._merged_headers(endpoint, headers)
            endpoint = endpoint.evolve(**given, updated_at=now())
            if disabled is True:
                endpoint = endpoint.evolve(disabled=True, disabled_reason=None)
            elif disabled is False and endpoint.why_disabled(status) is not None:
                endpoint = endpoint.enable(status, now())
            await self._publish(endpoint)
        return FoundEndpoint(endpoint, status)

    async def rotate(
        self, caller: Caller, endpoint_id: str, body: SecretRotation
    ) -> tuple[FoundEndpoint, str]:
        """Give an endpoint a new secret; the one before signs too for a while.

        Raises as `find_to_change`.

        Raises:
            Problem: 422 for a secret that is none.
        """
        secret = body.secret or new_secret(body.signature)
        overlap_s = self._settings.webhook_overlap_s if body.overlap_s is None else body.overlap_s
        async with self._changing:
            endpoint, status = await self.find_to_change(caller, endpoint_id)
            at = now()
            endpoint = endpoint.rotate(self._sealed(endpoint_id, secret, at), at, overlap_s)
            await self._publish(endpoint)
        return FoundEndpoint(endpoint, status), secret

    async def delete(self, caller: Caller, endpoint_id: str) -> None:
        """Delete an endpoint; its deliveries stay readable. Raises as `find_to_change`."""
        async with self._changing:
            await self.find_to_change(caller, endpoint_id)
            await self._send(endpoint_id, None)

    async def secret(self, caller: Caller, endpoint_id: str) -> tuple[WebhookEndpoint, str]:
        """Return an endpoint of the caller's owner with its newest secret. Raises as `find`.

        Raises:
            Problem: 403 when it is another owner's: who knows the secret can sign in its name. 409
                when it was encrypted with a key that this API does not have.
        """
        endpoint, _ = await self.find(caller, endpoint_id)
        if endpoint.owner != caller.owner:
            raise Problem(
                403,
                "secret_not_own",
                "The secret of an endpoint is shown to keys of its owner alone; an administrator "
                "may rotate it.",
            )
        try:
            return endpoint, open_secret(self._sealer, endpoint_id, endpoint.secrets[0])
        except CannotOpen as error:
            raise Problem(
                409,
                "secret_unreadable",
                "The secret was encrypted with another key than this API has; rotate it.",
            ) from error

    def _read(self, endpoint_id: str) -> FoundEndpoint | None:
        queries = self._read_model.queries
        endpoint = decoded(endpoint_id, WebhookEndpoint, queries.document(_ENDPOINTS, endpoint_id))
        if endpoint is None:
            return None
        status = decoded(endpoint_id, EndpointStatus, queries.document(_STATUSES, endpoint_id))
        return FoundEndpoint(endpoint, status)

    def _check_url(self, caller: Caller, url: str) -> None:
        if not caller.webhooks_allowed:
            raise Problem(
                403,
                "webhook_not_allowed",
                "This key may not name webhook URLs; ask for one that may.",
            )
        try:
            self._guard.parse(url)
        except UrlBlocked as error:
            raise field_problem("url", str(error), code="url_blocked") from error

    async def _check_count(self, caller: Caller) -> None:
        own = [each for each in await self.all_of(caller) if each.endpoint.owner == caller.owner]
        limit = self._settings.max_webhook_endpoints
        if len(own) >= limit:
            raise Problem(
                409,
                "endpoints_exceeded",
                f"There are {len(own)} webhook endpoints of {limit} allowed; delete one first.",
            )

    def _sealed(self, endpoint_id: str, secret: str, at: str) -> EndpointSecret:
        """Return a secret as it is stored; raise Problem (422) for one that is none."""
        try:
            return seal_secret(self._sealer, endpoint_id, secret, at)
        except SecretInvalid as error:
            raise field_problem("secret", str(error)) from error

    def _merged_headers(
        self, endpoint: WebhookEndpoint, changes: dict[str, str | None]
    ) -> dict[str, str]:
        """Return an endpoint's headers after changes; names that differ in case are one."""
        changed = {name.lower() for name in changes}
        kept = {
            name: value for name, value in endpoint.headers.items() if name.lower() not in changed
        }
        added = {name: value for name, value in changes.items() if value is not None}
        try:
            check_headers(dict.fromkeys({**kept, **added}))
        except ValueError as error:
            raise field_problem("headers", str(error)) from error
        return kept | seal_headers(self._sealer, endpoint.endpoint_id, added)

    async def _publish(self, endpoint: WebhookEndpoint) -> None:
        await self._send(endpoint.endpoint_id, endpoint.model_dump_json().encode())

    async def _send(self, endpoint_id: str, document: bytes | None) -> None:
        """Write an endpoint, or its tombstone, and wait until this process has read it."""
        headers = [("content-type", b"application/json")]
        await self._producer.send(
            self._settings.topic(_ENDPOINTS), endpoint_id.encode(), document, headers
        )
        await self._read_model.catch_up(endpoint_id)


def _owner_of(document: bytes) -> str | None:
    """Return the owner in a message; None where it has none, or is not valid."""
    try:
        return fields_of(document).get("owner")
    except DecodeError:
        return None
