"""The ring comes to the same keys whatever it reads, and fails closed."""

from __future__ import annotations

import asyncio

import pytest

from producer_api.access.keys.ring import KeyMessage, KeyRing
from schemas import topics
from schemas.access import KeyUsed
from tests.support.keys import key_message, made_key, revocation, ring_of


def used(key_id: str, at: str) -> KeyMessage:
    document = KeyUsed(key_id=key_id, at=at).model_dump_json().encode()
    return KeyMessage(topics.ACCESS_USED.name, key_id.encode(), document)


def test_it_has_no_keys_at_first() -> None:
    ring = KeyRing()
    ring.apply([], loaded=True)

    assert (ring.has_keys, ring.all(), ring.loaded) == (False, [], True)


def test_revoked_keys_are_keys() -> None:
    """Else revoking the last key would open the API to everybody."""
    key, _ = made_key()
    ring = ring_of(key)
    ring.apply([revocation(key)], loaded=True)

    assert ring.has_keys
    assert [known.revoked is not None for known in ring.all()] == [True]


def test_an_api_stays_locked_when_its_keys_are_removed_from_the_topic() -> None:
    key, _ = made_key()
    ring = ring_of(key)
    ring.apply([key_message(key)._replace(value=None)], loaded=True)

    assert ring.find(key.key_id) is None
    assert ring.has_keys


def test_keys_that_were_removed_before_the_start_are_none() -> None:
    """Their messages are on the topic until it is compacted."""
    key, _ = made_key()
    ring = KeyRing()
    ring.apply([key_message(key)], loaded=False)
    ring.apply([key_message(key)._replace(value=None)], loaded=True)

    assert not ring.has_keys


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[]", b"\xff", b'{"key_id": "other"}', b'{"scopes": [["admin"]]}']
)
def test_a_key_whose_message_is_invalid_is_refused(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = made_key()
    ring = ring_of(key)
    ring.apply([key_message(key)._replace(value=value)], loaded=True)

    known = ring.find(key.key_id)
    assert known is not None and known.caller is None
    assert ring.has_keys
    assert key.key_id in caplog.text


def test_the_message_of_one_key_under_the_id_of_another_is_refused() -> None:
    key, _ = made_key()
    other, _ = made_key()
    ring = ring_of(key)
    ring.apply([key_message(other)._replace(key=key.key_id.encode())], loaded=True)

    known = ring.find(key.key_id)
    assert known is not None and known.caller is None


def test_a_revocation_that_cannot_be_read_revokes() -> None:
    key, _ = made_key()
    ring = ring_of(key)
    ring.apply([revocation(key)._replace(value=b"nonsense")], loaded=True)

    assert ring.all()[0].revoked is not None


def test_the_latest_use_counts_in_whichever_order_the_apis_wrote() -> None:
    key, _ = made_key()
    ring = ring_of(key)
    later, earlier = "2026-05-05T12:01:00.000Z", "2026-05-05T12:00:00.000Z"
    ring.apply([used(key.key_id, later), used(key.key_id, earlier)], loaded=True)

    assert ring.last_used_at(key.key_id) == later


def test_keys_are_listed_oldest_first() -> None:
    first, _ = made_key(created_at="2026-01-01T00:00:00.000Z")
    second, _ = made_key(created_at="2026-01-02T00:00:00.000Z")

    assert [known.key for known in ring_of(second, first).all()] == [first, second]


async def test_a_wait_ends_with_the_change_that_it_is_for() -> None:
    key, _ = made_key()
    ring = KeyRing()
    waiting = asyncio.create_task(ring.wait_for(lambda: ring.has_keys, timeout_s=20))
    await asyncio.sleep(0)
    ring.apply([], loaded=False)
    ring.apply([key_message(key)], loaded=True)

    assert await waiting
    assert not await KeyRing().wait_loaded(timeout_s=0.01)
