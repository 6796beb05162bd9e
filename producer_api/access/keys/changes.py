"""Changes of keys, written to the topic `access.keys`.

Several APIs and the command line may change one key at once, and the topic has no compare-and-set.
Two rules keep a change from being lost:

- A revocation is a message of its own, which no other change overwrites.
- A change of rights or secrets is made from the last message that its writer has read. In the log
  it may follow a message that its writer had not read, and so undo it. The writer finds that out
  when it reads its own message back, and then writes once more, with what it had undone (`merged`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.access.keys.ring import KeyRing, KnownKey, revocation_key
from producer_api.access.keys.secret import hash_of, new_key_id, new_secret
from schemas import topics
from schemas.access import MAX_SECRETS, AccessKey, KeyRevoked, KeyRights, KeySecret
from schemas.times import from_epoch, now

_HEADERS = [("content-type", b"application/json")]
_CHANGE_ID_BYTES = 8


class UnknownKey(Exception):
    """There is no key with that id; the text is a sentence."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"There is no key {key_id[:64]}.")


class KeyEnded(Exception):
    """A revoked key cannot be changed; the text is a sentence."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key {key_id} is revoked, for good; create another one.")


class KeyChanges:
    """Creates, changes and revokes keys, for one asyncio loop."""

    def __init__(self, settings: ApiSettings, producer: AsyncProducer, ring: KeyRing) -> None:
        """Write by `producer`; `ring` is fed from the same topics."""
        self._topic = settings.topic(topics.ACCESS_KEYS.name)
        self._timeout_s = settings.delivery_timeout_s
        self._producer = producer
        self._ring = ring

    def known(self, key_id: str) -> KnownKey:
        """Return a key as it is now; raise UnknownKey if there is none that can be read."""
        known = self._ring.find(key_id)
        if known is None or known.key is None:
            raise UnknownKey(key_id)
        return known

    async def create(self, rights: KeyRights, owner: str | None, by: str) -> tuple[AccessKey, str]:
        """Make a key, and return it with its secret, which is nowhere else.

        Args:
            rights: its name and what it may do.
            owner: the account of what it makes; its own id if None.
            by: the name of the caller that makes it.

        Raises:
            KafkaUnavailable: it was not written, or not read back in time.
        """
        key_id = new_key_id()
        secret = new_secret(key_id)
        key = AccessKey(
            **rights.model_dump(include=set(KeyRights.model_fields)),
            key_id=key_id,
            owner=owner or key_id,
            secrets=(_stored(secret),),
            created_at=now(),
            created_by=by,
            change_id=_change_id(),
        )
        await self._write(key)
        return key, secret

    async def change(self, key_id: str, edit: Callable[[AccessKey], AccessKey]) -> AccessKey:
        """Change the rights or secrets of a key, and return it.

        `edit` returns a changed copy.

        Raises:
            UnknownKey: there is no such key.
            KeyEnded: it is revoked.
            KafkaUnavailable: the change was not written, or not read back in time.
        """
        known = self.known(key_id)
        if known.revoked is not None:
            raise KeyEnded(key_id)
        while True:
            base = self.known(key_id).key
            assert base is not None
            changed = edit(base).evolve(revision=base.revision + 1, change_id=_change_id())
            replaced = await self._write(changed)
            if replaced is None or replaced.change_id == base.change_id:
                return changed
            edit = partial(merged, base, replaced)

    async def rotate(self, key_id: str, overlap_s: float) -> tuple[AccessKey, str]:
        """Give a key another secret, and return both; the former one ends after `overlap_s`.

        Two secrets are valid at most: a rotation during an overlap ends the oldest at once. Raises
        as `change`.
        """
        secret = new_secret(key_id)
        added, ends_at = _stored(secret), from_epoch(time.time() + overlap_s)

        def edit(key: AccessKey) -> AccessKey:
            former = key.secrets[-1]
            ended = former.evolve(expires_at=min(former.expires_at or ends_at, ends_at))
            kept = (ended,) if overlap_s > 0 else ()
            return key.evolve(secrets=(*kept, added)[-MAX_SECRETS:])

        return await self.change(key_id, edit), secret

    async def revoke(self, key_id: str, by: str) -> None:
        """Refuse a key from now on, for good; a second time changes nothing.

        Raises:
            UnknownKey: there is no such key.
            KafkaUnavailable: the revocation was not written, or not read back in time.
        """
        if self.known(key_id).revoked is not None:
            return
        revoked = KeyRevoked(key_id=key_id, at=now(), by=by).model_dump_json().encode()
        await self._producer.send(self._topic, revocation_key(key_id), revoked, _HEADERS)
        if not await self._ring.wait_for(lambda: self._is_revoked(key_id), self._timeout_s):
            raise KafkaUnavailable("the revocation was written but not read back in time")

    def _is_revoked(self, key_id: str) -> bool:
        known = self._ring.find(key_id)
        return known is None or known.revoked is not None

    async def _write(self, key: AccessKey) -> AccessKey | None:
        """Write a key and read it back; return the key that its message replaced in the log.

        Raises:
            KafkaUnavailable: it was not written, or not read back in time.
        """
        replaced = self._ring.replaced_by(key.change_id)
        try:
            await self._producer.send(
                self._topic, key.key_id.encode(), key.model_dump_json().encode(), _HEADERS
            )
            async with asyncio.timeout(self._timeout_s):
                return await replaced
        except TimeoutError as error:
            raise KafkaUnavailable("the key was written but not read back in time") from error
        finally:
            replaced.cancel()


def merged(base: AccessKey, theirs: AccessKey, ours: AccessKey) -> AccessKey:
    """Return `ours` with the changes that `theirs` made to `base`.

    Where both changed one field ours counts, but for secrets: those of both are valid.
    """
    changes = {
        name: value
        for name, value in theirs.__dict__.items()
        if getattr(ours, name) == getattr(base, name) and value != getattr(base, name)
    }
    if theirs.secrets != base.secrets and ours.secrets != base.secrets:
        both = {each.sha256: each for each in (*theirs.secrets, *ours.secrets)}
        newest = sorted(both.values(), key=lambda each: each.created_at)[-MAX_SECRETS:]
        changes["secrets"] = tuple(newest)
    return ours.evolve(**changes)


def _stored(secret: str) -> KeySecret:
    return KeySecret(sha256=hash_of(secret), last_four=secret[-4:], created_at=now())


def _change_id() -> str:
    return secrets.token_hex(_CHANGE_ID_BYTES)
