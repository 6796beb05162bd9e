"""`imagemill keys`, and the first key of a deployment: changes of keys without an API."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from pydantic import ValidationError

from imagemill.kafka.config import producer_config
from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.access.keys.changes import KeyChanges, KeyEnded, UnknownKey
from producer_api.access.keys.documents import KeyBody, KeyDocument, RotateBody
from producer_api.access.keys.feed import KeyFeed
from producer_api.access.keys.ring import KeyRing
from producer_api.ids import new_id
from schemas import topics
from schemas.access import AccessKey, Scope
from schemas.audit import AuditKind, AuditOutcome, AuditRecord
from schemas.times import now

_CALLER = "command line"
_FIRST_NAME = "first"


class _Keys(NamedTuple):
    ring: KeyRing
    changes: KeyChanges
    producer: AsyncProducer


Action = Callable[[_Keys, dict[str, Any]], Awaitable[dict[str, Any]]]


def main(settings: ApiSettings, action: str, request: dict[str, Any]) -> dict[str, Any]:
    """Create, list, revoke or rotate; return the document to print.

    Bad input gives {"refused": a sentence}.

    Raises:
        KafkaUnavailable: the keys cannot be read or written.
    """
    actions = {"create": _create, "list": _list, "revoke": _revoke, "rotate": _rotate}
    return asyncio.run(_run(settings, actions[action], request, f"keys {action}"))


def create_first(settings: ApiSettings) -> dict[str, Any] | None:
    """Make an admin's key if the API needs one and there is none; return it with its secret.

    Raises:
        KafkaUnavailable: the keys cannot be read or written.
    """
    if settings.on_loopback or settings.open_without_keys or settings.oidc_issuer is not None:
        return None
    return asyncio.run(_run(settings, _create_first, {}, "prepare")) or None


async def _run(
    settings: ApiSettings, action: Action, request: dict[str, Any], command: str
) -> dict[str, Any]:
    async with _opened(settings) as keys:
        try:
            shown = await action(keys, request)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            return {"refused": f"{field}: {first['msg'].removeprefix('Value error, ')}"}
        except (UnknownKey, KeyEnded) as error:
            return {"refused": str(error)}
        # Lists and a first key that is there change nothing.
        if "id" in shown and settings.audit is not False:
            await _record(settings, keys.producer, command, shown["id"])
        return shown


async def _record(
    settings: ApiSettings, producer: AsyncProducer, command: str, key_id: str
) -> None:
    """Write the audit record of a change, as the API does for its requests."""
    record = AuditRecord(
        audit_id=new_id(),
        at=now(),
        kind=AuditKind.COMMAND,
        action=command,
        outcome=AuditOutcome.SUCCEEDED,
        actor=_user(),
        address=socket.gethostname(),
        target=key_id,
    )
    await producer.send(
        settings.topic(topics.AUDIT.name),
        record.actor.encode(),
        record.model_dump_json(exclude_none=True).encode(),
        [("content-type", b"application/json")],
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # The user ids of containers often have no name.
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


@asynccontextmanager
async def _opened(settings: ApiSettings) -> AsyncIterator[_Keys]:
    """Read all keys, and follow them until the end of the block."""
    ring = KeyRing()
    feed = KeyFeed(settings, ring)
    producer = AsyncProducer(
        producer_config(settings, delivery_timeout_s=settings.delivery_timeout_s)
    )
    feed.start()
    try:
        if not await ring.wait_loaded(settings.delivery_timeout_s):
            raise KafkaUnavailable("the API keys could not be read in time")
        yield _Keys(ring, KeyChanges(settings, producer, ring), producer)
    finally:
        await feed.stop()
        await producer.close()


async def _create(keys: _Keys, request: dict[str, Any]) -> dict[str, Any]:
    body = KeyBody.model_validate(request)
    key, secret = await keys.changes.create(body, body.owner, _CALLER)
    return _shown(keys, key) | {"secret": secret}


async def _create_first(keys: _Keys, _request: dict[str, Any]) -> dict[str, Any]:
    if keys.ring.has_keys:
        return {}
    return await _create(keys, {"name": _FIRST_NAME, "scopes": [*Scope]})


async def _list(keys: _Keys, _request: dict[str, Any]) -> dict[str, Any]:
    documents = (KeyDocument.of(known, keys.ring) for known in keys.ring.all())
    return {"keys": [document.model_dump(mode="json") for document in documents]}


async def _revoke(keys: _Keys, request: dict[str, Any]) -> dict[str, Any]:
    await keys.changes.revoke(request["key_id"], _CALLER)
    known = keys.changes.known(request["key_id"])
    return KeyDocument.of(known, keys.ring).model_dump(mode="json")


async def _rotate(keys: _Keys, request: dict[str, Any]) -> dict[str, Any]:
    body = RotateBody.model_validate({"overlap_s": request["overlap_s"]})
    key, secret = await keys.changes.rotate(request["key_id"], body.overlap_s)
    return _shown(keys, key) | {"secret": secret}


def _shown(keys: _Keys, key: AccessKey) -> dict[str, Any]:
    return KeyDocument.of(keys.changes.known(key.key_id), keys.ring).model_dump(mode="json")
