"""The keys that an API knows, in memory: a request is authenticated without a query.

The ring applies the messages of the topics `access.keys` and `access.used` in the order of the log,
so that all APIs come to the same keys. It fails closed: a key whose message cannot be read is
refused, a revocation stays whatever else is written, and once there was a key it never says again
that there are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from producer_api.access.caller import Caller
from producer_api.read_model.waiters import TransactionWaiters
from schemas import topics
from schemas.access import AccessKey, KeyRevoked, KeyUsed, Scope

log = logging.getLogger(__name__)

_REVOKED = "revoked"


class KeyMessage(NamedTuple):
    """A message of an access topic; `topic` is its name without the prefix."""

    topic: str
    key: bytes
    value: bytes | None


@dataclass
class KnownKey:
    """The facts of one key id, as far as the topics have them."""

    key: AccessKey | None = None
    """None before its message is read, and when that is invalid."""
    caller: Caller | None = None
    """The caller that requests with the key are; None as long as `key` is."""
    revoked: KeyRevoked | None = None


class KeyRing:
    """All keys by id, for one asyncio loop."""

    def __init__(self) -> None:
        self._known: dict[str, KnownKey] = {}
        self._used: dict[str, str] = {}
        self._had_keys = False
        self._changes = TransactionWaiters()
        self._awaited: dict[str, asyncio.Future[AccessKey | None]] = {}
        self.loaded = False
        """True once all keys that were on the topic at the start are here."""

    @property
    def has_keys(self) -> bool:
        """True if there is a key, revoked and expired ones included, or was one since the start."""
        return self._had_keys or bool(self._known)

    def find(self, key_id: str) -> KnownKey | None:
        """Return what is known of that key id; None if it is no key."""
        return self._known.get(key_id)

    def last_used_at(self, key_id: str) -> str | None:
        """Return the time of the last use that some API wrote; None if there is none."""
        return self._used.get(key_id)

    def all(self) -> list[KnownKey]:
        """Return the keys that can be read, oldest first."""
        readable = [(each.key, each) for each in self._known.values() if each.key is not None]
        return [each for key, each in sorted(readable, key=_by_age)]

    def apply(self, messages: Iterable[KeyMessage], *, loaded: bool) -> None:
        """Apply messages in the order of the log; `loaded` if they reach the end of the keys."""
        for message in messages:
            try:
                self._apply(message)
            except (ValidationError, UnicodeDecodeError) as error:
                log.warning(
                    "A message of %s under %r is invalid: %s", message.topic, message.key, error
                )
        self.loaded = self.loaded or loaded
        # Not before: of keys that were removed, earlier messages may be on the topic still.
        self._had_keys = self.loaded and self.has_keys
        self._changes.wake()

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the condition holds after some change; return False after that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    with self._changes.watch() as change:
                        if condition():
                            return True
                        await change
        return condition()

    def replaced_by(self, change_id: str) -> asyncio.Future[AccessKey | None]:
        """Return a future of the key that the message with this change id replaces.

        Ask before the message is written; cancel the future to give it up.
        """
        future: asyncio.Future[AccessKey | None] = asyncio.get_running_loop().create_future()
        self._awaited[change_id] = future
        future.add_done_callback(lambda _: self._awaited.pop(change_id, None))
        return future

    async def wait_loaded(self, timeout_s: float) -> bool:
        """Wait until the keys are here; return False after that time."""
        return self.loaded or await self.wait_for(lambda: self.loaded, timeout_s)

    def _apply(self, message: KeyMessage) -> None:
        key_id, slash, fact = message.key.decode().partition("/")
        if message.topic == topics.ACCESS_USED.name:
            self._apply_use(key_id, message.value)
        elif slash and fact == _REVOKED:
            self._apply_revocation(key_id, message.value)
        elif not slash:
            self._apply_key(key_id, message.value)

    def _apply_key(self, key_id: str, value: bytes | None) -> None:
        known = self._known.setdefault(key_id, KnownKey())
        replaced, known.key, known.caller = known.key, None, None
        if value is None:
            self._drop_empty(key_id)
            return
        key = AccessKey.model_validate_json(value)
        if key.key_id == key_id:
            known.key, known.caller = key, caller_of_key(key)
            self._settle(key.change_id, replaced)
        else:
            log.warning("The key under %s says that it is %s; it is refused", key_id, key.key_id)

    def _settle(self, change_id: str, replaced: AccessKey | None) -> None:
        future = self._awaited.get(change_id)
        if future is not None and not future.done():
            future.set_result(replaced)

    def _apply_revocation(self, key_id: str, value: bytes | None) -> None:
        known = self._known.setdefault(key_id, KnownKey())
        if value is None:
            known.revoked = None
            self._drop_empty(key_id)
            return
        # Refused even if the rest of the message cannot be read.
        known.revoked = known.revoked or KeyRevoked.trusted(key_id=key_id, at="", by="")
        known.revoked = KeyRevoked.model_validate_json(value)

    def _apply_use(self, key_id: str, value: bytes | None) -> None:
        if value is None:
            self._used.pop(key_id, None)
            return
        # The clocks of two APIs differ, so the last message is not always the latest use.
        self._used[key_id] = max(KeyUsed.model_validate_json(value).at, self._used.get(key_id, ""))

    def _drop_empty(self, key_id: str) -> None:
        """Drop a key id of which every message was removed."""
        known = self._known[key_id]
        if known.key is None and known.revoked is None:
            del self._known[key_id]


def caller_of_key(key: AccessKey) -> Caller:
    """Return the caller that requests with a key are."""
    return Caller(
        owner=key.owner,
        key_id=key.key_id,
        name=key.name,
        scopes=frozenset(key.scopes),
        own_only=key.own_only and Scope.ADMIN not in key.scopes,
        max_priority=key.max_priority,
        weight=key.weight,
        requests_per_s=key.requests_per_s,
        images_per_day=key.images_per_day,
        megapixels_per_day=key.megapixels_per_day,
        webhooks_allowed=key.webhooks_allowed,
        urls_allowed=key.urls_allowed,
    )


def revocation_key(key_id: str) -> bytes:
    """Return the message key of a revocation."""
    return f"{key_id}/{_REVOKED}".encode()


def _by_age(entry: tuple[AccessKey, KnownKey]) -> tuple[str, str]:
    return entry[0].created_at, entry[0].key_id
