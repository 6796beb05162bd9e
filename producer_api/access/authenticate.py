"""Authentication and authorization of a request; pure, so that each refusal is testable."""

from __future__ import annotations

import hmac

from producer_api.access.caller import Caller
from producer_api.access.keys.ring import KeyRing
from producer_api.access.keys.secret import NoSecret, hash_of, key_id_of
from producer_api.access.problems import Unauthenticated, scope_missing
from producer_api.access.scopes import Scopes
from schemas.access import KeySecret, Scope


def authenticate(secret: str, ring: KeyRing, now: str) -> Caller:
    """Return the caller whose key has this secret; `now` is a timestamp.

    Raises:
        Unauthenticated: it is no valid secret of a key of the ring.
    """
    try:
        key_id = key_id_of(secret)
    except NoSecret as error:
        raise Unauthenticated(str(error)) from error
    known = ring.find(key_id)
    # That a key id exists is no secret: it is on the topic and in lists.
    stored = None if known is None or known.key is None else _matching(known.key.secrets, secret)
    if known is None or known.key is None or known.caller is None or stored is None:
        raise Unauthenticated("The API key is not known here.")
    # Only the holder of the secret learns the reasons below.
    if known.revoked is not None:
        raise Unauthenticated("The API key was revoked; use another one.")
    if known.key.expires_at is not None and known.key.expires_at <= now:
        raise Unauthenticated(f"The API key expired at {known.key.expires_at}.")
    if stored.expires_at is not None and stored.expires_at <= now:
        raise Unauthenticated(
            f"The API key was rotated, and this secret ended at {stored.expires_at}; use the new "
            "one."
        )
    return known.caller


def _matching(stored: tuple[KeySecret, ...], secret: str) -> KeySecret | None:
    """Return the stored secret with this text, compared in constant time."""
    digest, found = hash_of(secret), None
    for each in stored:
        # Each is compared whole and none is left out, so the time says nothing of the hashes.
        if hmac.compare_digest(each.sha256, digest):
            found = each
    return found


def authorize(caller: Caller, needed: Scopes) -> None:
    """Raise Problem (403) unless the caller has these scopes, or the scope admin."""
    if Scope.ADMIN not in caller.scopes and (missing := needed - caller.scopes):
        raise scope_missing(caller.name, missing)


def authorize_change(caller: Caller, owner: str | None) -> None:
    """Raise Problem (403) for a change of what another owner has, unless by an administrator.

    A key that sees every owner's things may read them; it changes only its own owner's.
    """
    if caller.owner != owner:
        authorize(caller, frozenset({Scope.ADMIN}))
