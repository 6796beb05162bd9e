"""The caller of a request, as authentication found it, and the limits of its key."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from schemas.access import Scope
from schemas.jobs import Priority


@dataclass(frozen=True)
class Caller:
    """Who sends a request, and what it may do; the defaults are those of an API without keys.

    `owner` is the account that its jobs, uploads, templates and webhook endpoints belong to; None
    on an API without keys. Limits that are None do not apply.
    """

    owner: str | None = None
    key_id: str | None = None
    name: str = "anonymous"
    scopes: frozenset[Scope] = frozenset(Scope)
    own_only: bool = False
    """Sees only what belongs to `owner`; anything else is answered 404."""
    max_priority: Priority = Priority.HIGH
    weight: int = 1
    """Share of the workers' time beside other owners' jobs of the same priority."""
    requests_per_s: float | None = None
    images_per_day: int | None = None
    megapixels_per_day: float | None = None
    webhooks_allowed: bool = True
    """May name webhook URLs in jobs."""
    urls_allowed: bool = True
    """May name image URLs for the workers to fetch."""

    def __post_init__(self) -> None:
        """Raise ValueError for a caller that sees only its own things and owns none.

        It would see those of an API without keys, which have no owner either.
        """
        if self.own_only and self.owner is None:
            raise ValueError(f"{self.name} sees only its own jobs, so it needs an owner")

    def may(self, scope: Scope) -> bool:
        """True if this caller has that scope; an administrator has all of them."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def sees(self, owner: str | None) -> bool:
        """True if this caller may know of something that belongs to `owner`."""
        return not self.own_only or owner == self.owner


ANYONE = Caller()
# The caller of public operations on an API that asks for keys: no owner has this empty name.
NOBODY = Caller(owner="", name="nobody", scopes=frozenset(), own_only=True)
CALLER = web.RequestKey("caller", Caller)


def caller_of(request: web.Request) -> Caller:
    """Return the caller of a request; on an API without keys that is anyone."""
    return request.get(CALLER, ANYONE)
