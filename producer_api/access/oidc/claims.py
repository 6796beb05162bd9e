"""Makes the caller of a request from the claims of its token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from imagemill.settings.oidc import OidcRule, OidcSettings, parse_rules
from producer_api.access.caller import Caller
from producer_api.access.problems import Unauthenticated
from schemas.access import OWNER, Scope
from schemas.jobs import Priority

_OWNER = re.compile(OWNER)
# Characters of a caller's name in audit records and problems.
_MAX_NAME_CHARS = 100
_LIMITS = (
    "max_priority",
    "weight",
    "requests_per_s",
    "images_per_day",
    "megapixels_per_day",
    "webhooks_allowed",
    "urls_allowed",
    "own_only",
)
# Limits of a token that no rule limits; they are those of a key.
_USUAL = {"max_priority": Priority.HIGH, "own_only": True}

Claims = Mapping[str, Any]


class ClaimsMapping:
    """The rules by which claims become scopes, an owner and limits."""

    def __init__(self, settings: OidcSettings) -> None:
        self._owner_claim = settings.oidc_owner_claim
        self._name_claim = settings.oidc_name_claim
        self._scope_claim = settings.oidc_scope_claim
        self._rules = parse_rules(settings.oidc_rules)

    def caller(self, claims: Claims) -> Caller:
        """Return the caller of a verified token.

        Scopes of all rules that match add up; of a limit, the first rule that has it counts.

        Raises:
            Unauthenticated: the token names no owner.
        """
        rules = [rule for rule in self._rules if _matches(rule, claims)]
        scopes = frozenset(scope for rule in rules for scope in rule.scopes)
        if self._scope_claim:
            named = set(_words(_claim(claims, self._scope_claim)))
            scopes |= {scope for scope in Scope if scope in named}
        limits = _USUAL | _limits(rules)
        if Scope.ADMIN in scopes:
            limits["own_only"] = False
        return Caller(owner=self._owner(claims), name=self._name(claims), scopes=scopes, **limits)

    def _owner(self, claims: Claims) -> str:
        owner = _claim(claims, self._owner_claim)
        if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
            raise Unauthenticated(
                f"The claim {self._owner_claim} of the token, which names the account, is missing "
                "or is no account's name."
            )
        return owner

    def _name(self, claims: Claims) -> str:
        name = _claim(claims, self._name_claim)
        if not isinstance(name, str) or not name:
            name = str(claims.get("sub") or "token")
        shown = "".join(letter if letter.isprintable() else "?" for letter in name)
        return shown[:_MAX_NAME_CHARS]


def _limits(rules: Iterable[OidcRule]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rule in rules:
        for limit in _LIMITS:
            value = getattr(rule, limit)
            if value is not None:
                found.setdefault(limit, value)
    return found


def _matches(rule: OidcRule, claims: Claims) -> bool:
    if rule.claim is None:
        return True
    found = _claim(claims, rule.claim)
    if rule.value is None:
        return found is not None
    return found == rule.value or rule.value in _words(found)


def _claim(claims: Claims, name: str) -> Any:
    """Return a claim by its name, or by a path of names with dots; None if it is missing."""
    # Names may have dots, as those that are URLs do.
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _words(value: Any) -> list[str]:
    """Return the entries of a list, or the words of a text, as `scope` has them (RFC 8693, 4.2)."""
    if isinstance(value, str):
        return value.split()
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
