"""A secret stands for its key's caller, unless the key or the secret has ended."""

from __future__ import annotations

import pytest

from producer_api.access.authenticate import authenticate, authorize, authorize_change
from producer_api.access.caller import ANYONE, Caller
from producer_api.access.keys.ring import KeyRing
from producer_api.access.keys.secret import new_key_id, new_secret
from producer_api.access.problems import Unauthenticated
from producer_api.access.scopes import PUBLIC
from producer_api.http.problems import Problem
from schemas.access import AccessKey, Scope
from schemas.jobs import Priority
from tests.support.keys import key_message, made_key, revocation, ring_of, stored

NOW = "2026-05-05T12:00:00.000Z"
BEFORE = "2026-05-05T11:59:59.999Z"
AFTER = "2026-05-05T12:00:00.001Z"


def refusal(secret: str, ring: KeyRing) -> str:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(secret, ring, NOW)
    return str(caught.value)


def test_a_key_stands_for_its_caller() -> None:
    key, secret = made_key(
        name="shop",
        owner="acme",
        scopes=(Scope.JOBS_WRITE, Scope.WEBHOOKS),
        max_priority=Priority.NORMAL,
        weight=3,
        requests_per_s=2.5,
        images_per_day=100,
        megapixels_per_day=50.0,
        webhooks_allowed=False,
        urls_allowed=False,
    )

    assert authenticate(secret, ring_of(key), NOW) == Caller(
        owner="acme",
        key_id=key.key_id,
        name="shop",
        scopes=frozenset({Scope.JOBS_WRITE, Scope.WEBHOOKS}),
        own_only=True,
        max_priority=Priority.NORMAL,
        weight=3,
        requests_per_s=2.5,
        images_per_day=100,
        megapixels_per_day=50.0,
        webhooks_allowed=False,
        urls_allowed=False,
    )


def test_an_admin_sees_everything() -> None:
    key, secret = made_key(scopes=(Scope.ADMIN,))

    assert authenticate(secret, ring_of(key), NOW).sees("somebody else")


def test_a_key_that_nobody_made_is_not_known() -> None:
    assert "not known" in refusal(new_secret(new_key_id()), ring_of(made_key()[0]))


def test_another_secret_of_a_known_key_is_not_known() -> None:
    key, _ = made_key()

    assert "not known" in refusal(new_secret(key.key_id), ring_of(key))


def test_a_text_that_is_no_key_is_refused_with_the_reason() -> None:
    assert "begins with im_" in refusal("hunter2", KeyRing())


@pytest.mark.parametrize(("expires_at", "valid"), [(BEFORE, False), (NOW, False), (AFTER, True)])
def test_a_key_is_refused_from_its_expiry_on(expires_at: str, valid: bool) -> None:
    key, secret = made_key(expires_at=expires_at)
    ring = ring_of(key)

    if valid:
        assert authenticate(secret, ring, NOW).key_id == key.key_id
    else:
        assert refusal(secret, ring) == f"The API key expired at {expires_at}."


def test_both_secrets_are_valid_during_a_rotation_and_then_the_new_one_alone() -> None:
    key, old = made_key()
    new = new_secret(key.key_id)
    during = key.evolve(secrets=(stored(old, expires_at=AFTER), stored(new)))
    past = key.evolve(secrets=(stored(old, expires_at=NOW), stored(new)))

    assert authenticate(old, ring_of(during), NOW) == authenticate(new, ring_of(during), NOW)
    assert authenticate(new, ring_of(past), NOW).key_id == key.key_id
    assert "use the new one" in refusal(old, ring_of(past))


def test_a_revoked_key_stays_revoked_whatever_is_written_after() -> None:
    """Another API that had not read the revocation may change the key's rights afterwards."""
    key, secret = made_key()
    ring = ring_of(key)
    ring.apply([revocation(key)], loaded=True)
    changed = key.evolve(name="renamed", revision=2)
    ring.apply([key_message(changed)], loaded=True)

    assert refusal(secret, ring) == "The API key was revoked; use another one."


def test_a_revocation_that_is_read_before_its_key_counts() -> None:
    key, secret = made_key()
    ring = KeyRing()
    ring.apply([revocation(key), key_message(key)], loaded=True)

    assert "revoked" in refusal(secret, ring)


def test_a_scope_that_only_later_versions_know_is_left_out() -> None:
    key, secret = made_key()
    newer = key.model_dump(mode="json") | {"scopes": ["jobs:read", "time:travel"]}

    ring = ring_of(AccessKey.model_validate(newer))
    assert authenticate(secret, ring, NOW).scopes == {Scope.JOBS_READ}


def test_a_caller_needs_every_scope_of_an_operation() -> None:
    caller = Caller(name="shop", scopes=frozenset({Scope.JOBS_READ}))

    authorize(caller, frozenset({Scope.JOBS_READ}))
    authorize(caller, PUBLIC)
    with pytest.raises(Problem) as caught:
        authorize(caller, frozenset({Scope.JOBS_READ, Scope.RESULTS_READ}))
    assert (caught.value.status, caught.value.code) == (403, "scope_missing")
    assert caught.value.members == {"scopes": ["results:read"]}
    assert '"shop" lacks the scope results:read' in caught.value.detail
    assert 'scope="results:read"' in caught.value.headers["WWW-Authenticate"]


@pytest.mark.parametrize("scope", Scope)
def test_admin_has_every_scope_and_so_has_anyone_without_keys(scope: Scope) -> None:
    authorize(Caller(scopes=frozenset({Scope.ADMIN})), frozenset({scope}))
    authorize(ANYONE, frozenset({scope}))


def test_a_caller_that_sees_everything_changes_only_its_own_unless_it_is_an_administrator() -> None:
    reader = Caller(owner="reports", name="reports", scopes=frozenset(Scope) - {Scope.ADMIN})

    authorize_change(reader, "reports")
    authorize_change(Caller(owner="root", scopes=frozenset({Scope.ADMIN})), "alice")
    authorize_change(ANYONE, None)
    for owner in ("alice", None):
        with pytest.raises(Problem) as caught:
            authorize_change(reader, owner)
        assert (caught.value.status, caught.value.members) == (403, {"scopes": ["admin"]})
