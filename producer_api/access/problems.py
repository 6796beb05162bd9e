"""Refusals of a caller: 401 for one that is not known, 403 for one that may not do that."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import hdrs

from producer_api.http.problems import Problem
from schemas.access import Scope

REALM = "imagemill"


class Unauthenticated(Exception):
    """A request without usable credentials; the text is a sentence for its sender.

    `error` is the code of RFC 6750, 3.1; empty when no credentials were sent.
    """

    def __init__(self, sentence: str, *, error: str = "invalid_token") -> None:
        super().__init__(sentence)
        self.error = error


def unauthenticated(refusal: Unauthenticated, *, basic: bool) -> Problem:
    """Make the 401, with the schemes that this API takes; Basic among them where it is allowed."""
    bearer = f'Bearer realm="{REALM}"'
    if refusal.error:
        bearer += f', error="{refusal.error}"'
    schemes = f'{bearer}, Basic realm="{REALM}"' if basic else bearer
    return Problem(401, "unauthenticated", str(refusal), headers={hdrs.WWW_AUTHENTICATE: schemes})


def scope_missing(name: str, missing: Iterable[Scope]) -> Problem:
    """Make the 403 of a caller that lacks scopes."""
    scopes = " ".join(sorted(missing))
    return Problem(
        403,
        "scope_missing",
        f'"{name}" lacks the scope {scopes} for this request; use a key that has it.',
        headers={
            hdrs.WWW_AUTHENTICATE: (
                f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scopes}"'
            )
        },
        scopes=scopes.split(),
    )
