"""Request bodies of `/v1/webhooks`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from imagemill.webhooks.secrets import Signature
from producer_api.http.forms import HttpUrl, JsonEnum
from producer_api.http.query import as_timestamp
from schemas.base import Array, Strict
from schemas.jobs import WebhookEvent
from schemas.webhooks import EndpointBody

MAX_HEADERS = 20
MAX_HEADER_CHARACTERS = 1000
_MAX_DESCRIPTION_CHARACTERS = 1000
# RFC 9110, 5.6.2.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# Printable ASCII with spaces inside: some receivers read other letters as another charset, and a
# line break would begin a header of its own.
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
# Headers that the notifier sends itself, that frame the body, or that concern one connection.
_RESERVED = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_RESERVED_PREFIXES = ("webhook-", "proxy-")


def check_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """Return the headers; raise ValueError for a name or value that cannot be sent."""
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"more than {MAX_HEADERS} headers")
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("two names that differ only in upper and lower case")
    for name, value in headers.items():
        _check_header(name, value)
    return headers


def _check_header(name: str, value: Any) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("a name is not that of a header, 1 to 100 letters, digits and -")
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES):
        raise ValueError(f"{name} is set by imagemill and cannot be another")
    if value is None:
        return
    if len(value) > MAX_HEADER_CHARACTERS or not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"the value of {name} is not 1 to {MAX_HEADER_CHARACTERS} printable ASCII characters"
        )


_Events = Annotated[Array[JsonEnum[WebhookEvent]], Field(min_length=1)]
_Secret = Annotated[str, Field(max_length=200)]
_SECRET_TEXT = (
    "`whsec_` and the base64 of 24 to 64 bytes, for HMAC-SHA256; or `whsk_` and the base64 of an "
    "ed25519 key, for signatures that receivers verify with a public key"
)


class EndpointCreate(Strict):
    """A webhook endpoint to create."""

    url: HttpUrl = Field(description="Absolute http or https URL that gets a POST for each event.")
    events: _Events = Field(
        (WebhookEvent.FINISHED,), description="Types of events to post; job.finished by default."
    )
    description: str = Field(
        "",
        max_length=_MAX_DESCRIPTION_CHARACTERS,
        description=f"Text for people, {_MAX_DESCRIPTION_CHARACTERS} characters at most.",
    )
    secret: _Secret | None = Field(
        None, description=f"Secret that signs the posts: {_SECRET_TEXT}. Made if left out."
    )
    signature: JsonEnum[Signature] = Field(
        Signature.HMAC,
        description="Kind of the secret that is made: `v1` for HMAC-SHA256, `v1a` for ed25519.",
    )
    headers: Annotated[dict[str, str], AfterValidator(check_headers)] = Field(
        default_factory=dict,
        description=f"Headers to send along, {MAX_HEADERS} at most. Their values are stored "
        "encrypted and not shown again.",
    )
    body: JsonEnum[EndpointBody] = Field(
        EndpointBody.FULL, description="`full`, or `thin`: ids and links in place of the data."
    )
    disabled: bool = Field(False, description="True for an endpoint that gets no posts yet.")


class EndpointChange(Strict):
    """The fields of a webhook endpoint to change; those left out stay as they are."""

    url: HttpUrl | None = Field(None, description="URL that gets a POST for each event.")
    events: _Events | None = Field(None, description="Types of events to post.")
    description: str | None = Field(
        None, max_length=_MAX_DESCRIPTION_CHARACTERS, description="Text for people."
    )
    headers: Annotated[dict[str, str | None], AfterValidator(check_headers)] | None = Field(
        None,
        description="Headers to add or replace, by name; null removes one. Others stay.",
    )
    body: JsonEnum[EndpointBody] | None = Field(None, description="`full` or `thin`.")
    disabled: bool | None = Field(
        None,
        description="True disables the endpoint; false enables it, whoever disabled it, and counts "
        "its failures from zero.",
    )


class SecretRotation(Strict):
    """A new secret of an endpoint; the one before signs too for a while."""

    secret: _Secret | None = Field(None, description=f"{_SECRET_TEXT}. Made if left out.")
    signature: JsonEnum[Signature] = Field(
        Signature.HMAC,
        description="Kind of the secret that is made: `v1` for HMAC-SHA256, `v1a` for ed25519.",
    )
    overlap_s: int | None = Field(
        None,
        ge=0,
        le=7 * 24 * 3600,
        description="Seconds for which the secret before signs too, 7 days at most; 24 h by "
        "default.",
    )


class TestPost(Strict):
    """A test event to post."""

    event: JsonEnum[WebhookEvent] = Field(
        WebhookEvent.FINISHED, description="Type of the event to post."
    )


class FailedReplay(Strict):
    """The failed deliveries of an endpoint to post once more."""

    since: Annotated[str, AfterValidator(as_timestamp)] = Field(
        description="Time from which on deliveries have failed, RFC 3339 with a zone."
    )
