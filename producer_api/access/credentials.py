"""The credentials of a request: one bearer token or API key, in one of four forms."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Protocol

from aiohttp import hdrs

from producer_api.access.problems import Unauthenticated

KEY_HEADER = "X-API-Key"
KEY_PARAMETER = "key"


class MultiMapping(Protocol):
    """The part of a request's headers or query that is read here."""

    def getall(self, key: str, default: tuple[str, ...], /) -> list[str] | tuple[str, ...]: ...


@dataclass(frozen=True)
class AcceptedForms:
    """The forms taken beside `Authorization: Bearer` and `X-API-Key`."""

    basic: bool = False
    """The password of `Authorization: Basic`; its user name is ignored."""
    query: bool = False
    """The query parameter `key`."""


def find_credentials(headers: MultiMapping, query: MultiMapping, accepted: AcceptedForms) -> str:
    """Return the text of the request's token or key.

    Raises:
        Unauthenticated: there is none, several that differ, or one in a form that is not taken.
    """
    found: set[str] = set()
    refused: list[str] = []
    for text in headers.getall(hdrs.AUTHORIZATION, ()):
        found.add(_of_authorization(text, accepted))
    found.update(text.strip() for text in headers.getall(KEY_HEADER, ()))
    if in_query := query.getall(KEY_PARAMETER, ()):
        if accepted.query:
            found.update(in_query)
        else:
            refused.append(
                "Keys in the URL are not taken here (IMAGEMILL_ACCESS_QUERY allows them); send "
                f"the key as {KEY_HEADER}."
            )
    found.discard("")
    if len(found) > 1:
        raise Unauthenticated(
            "The request has several credentials that differ; send one.", error="invalid_request"
        )
    if not found:
        missing = f"Send an API key as `Authorization: Bearer im_...` or `{KEY_HEADER}: im_...`."
        raise Unauthenticated(
            refused[0] if refused else missing, error="invalid_request" if refused else ""
        )
    return found.pop()


def _of_authorization(text: str, accepted: AcceptedForms) -> str:
    scheme, _, value = text.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        if not value or " " in value:
            raise Unauthenticated(
                "The Authorization header must be `Bearer` and one key or token.",
                error="invalid_request",
            )
        return value
    if scheme.lower() != "basic":
        raise Unauthenticated(
            "The Authorization header has a scheme that is not taken here; use Bearer.",
            error="invalid_request",
        )
    if not accepted.basic:
        raise Unauthenticated(
            "Basic is not taken here (IMAGEMILL_ACCESS_BASIC allows it); send the key as Bearer.",
            error="invalid_request",
        )
    return _password(value)


def _password(value: str) -> str:
    """Return the password of a Basic header."""
    try:
        _, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError as error:
        # No base64 or no UTF-8 behind it; or letters that are no ASCII, as a header may have.
        raise Unauthenticated(
            "The Basic credentials are not base64 of `user:key`.", error="invalid_request"
        ) from error
    if not colon or not password:
        raise Unauthenticated(
            "The Basic credentials must have the key as their password: `user:key`.",
            error="invalid_request",
        )
    return password
