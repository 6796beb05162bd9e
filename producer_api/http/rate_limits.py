"""Limits of a client as the headers `RateLimit-Policy` and `RateLimit` show them.

They are those of draft-ietf-httpapi-ratelimit-headers-10: structured fields, each a list with a
member for each policy. https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp import web

from producer_api.http.problems import Problem

_POLICY = "RateLimit-Policy"
_STATE = "RateLimit"


@dataclass(frozen=True)
class LimitState:
    """A limit of a client, and what is left of it."""

    policy: str
    """Name of the limit, printable ASCII without quotes and backslashes."""
    quota: int
    """Units that one window allows."""
    remaining: int
    """Units left."""
    reset_s: int
    """Seconds until there are more."""
    window_s: int | None = None
    """Seconds of a window; None for a limit that is not one of time."""
    unit: str | None = None
    """Unit of the quota; None for requests."""

    def policy_member(self) -> str:
        """Return the member of RateLimit-Policy."""
        unit = "" if self.unit is None else f';qu="{self.unit}"'
        window = "" if self.window_s is None else f";w={self.window_s}"
        return f'"{self.policy}";q={self.quota}{unit}{window}'

    def state_member(self) -> str:
        """Return the member of RateLimit."""
        return f'"{self.policy}";r={self.remaining};t={self.reset_s}'


LIMITS = web.RequestKey("limits", list[LimitState])


def note_limits(request: web.Request, states: Iterable[LimitState]) -> None:
    """Have the answer to the request show these limits."""
    if known := tuple(states):
        request.setdefault(LIMITS, []).extend(known)


async def show_limits(request: web.Request, response: web.StreamResponse) -> None:
    """Add the noted limits to the headers; for `on_response_prepare`, so to streams as well."""
    # A 429 has the limit that was passed in its headers already.
    for name, value in limit_headers(request.get(LIMITS, ())).items():
        earlier = response.headers.get(name)
        response.headers[name] = value if earlier is None else f"{earlier}, {value}"


def limit_headers(states: Sequence[LimitState]) -> dict[str, str]:
    """Return the headers of these limits; none for none."""
    if not states:
        return {}
    return {
        _POLICY: ", ".join(state.policy_member() for state in states),
        _STATE: ", ".join(state.state_member() for state in states),
    }


def over_limit(code: str, detail: str, state: LimitState) -> Problem:
    """Make the 429 of a client that passed a limit; it may try again when there is more."""
    return Problem(
        429,
        code,
        detail,
        headers={"Retry-After": str(state.reset_s)} | limit_headers([state]),
        **{"violated-policies": [state.policy]},
    )
