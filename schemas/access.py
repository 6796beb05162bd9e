"""Access: the scopes that callers have, and the keys on the topic `access.keys`.

A key is three facts, each a message with a key of its own, so that writers of one never overwrite
another: its rights and secrets (`AccessKey`, under the key id), its revocation (`KeyRevoked`, under
`<key id>/revoked`, which nothing takes back), and its last use (`KeyUsed`, on `access.used`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field
from pydantic import Strict as StrictMode

from schemas.base import Array, Frozen
from schemas.jobs import MAX_WEIGHT, Priority
from schemas.times import Timestamp

# An account: a key id, or any name that an operator or a token's claim gives it.
OWNER = r"^[A-Za-z0-9][A-Za-z0-9._@:|/+-]{0,127}$"
# A key's secret may be replaced while the former one stays valid; a third one ends the oldest.
MAX_SECRETS = 2


class Scope(StrEnum):
    """A kind of request that a caller may make."""

    JOBS_WRITE = "jobs:write"
    """Submit and cancel jobs, upload images."""
    JOBS_READ = "jobs:read"
    """Read jobs, their items and events, statistics, operations and templates."""
    RESULTS_READ = "results:read"
    """Read input and result files."""
    WEBHOOKS = "webhooks"
    """Create, read and change webhook endpoints, read deliveries, and replay them."""
    MODELS = "models"
    """Read models and workers."""
    ADMIN = "admin"
    """Manage keys, see and change everything of every owner."""


class KeyStatus(StrEnum):
    """The state of a key."""

    ACTIVE = "active"
    EXPIRED = "expired"
    """Its time has come; a later one can be set."""
    REVOKED = "revoked"
    """Refused, for good."""


USUAL_SCOPES = (Scope.JOBS_WRITE, Scope.JOBS_READ, Scope.RESULTS_READ)


def _known_scopes(value: Any) -> Any:
    """Leave out the scopes that only later versions know, so that the key keeps its other ones."""
    if not isinstance(value, Iterable) or isinstance(value, str):
        return value
    known = {scope.value for scope in Scope}
    return tuple(scope for scope in value if isinstance(scope, str) and scope in known)


class KeyRights(BaseModel):
    """The name of a key, and all that it may do."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Name of the key for people, 1 to 100 characters.",
    )
    scopes: Array[Annotated[Scope, StrictMode(False)]] = Field(
        USUAL_SCOPES, min_length=1, description="Kinds of requests that the key may make."
    )
    expires_at: Timestamp | None = Field(
        None, description="Time from which the key is refused; null for never."
    )
    max_priority: Annotated[Priority, StrictMode(False)] = Field(
        Priority.HIGH, description="Highest priority that jobs of the key may have."
    )
    weight: int = Field(
        1,
        ge=1,
        le=MAX_WEIGHT,
        description=(
            f"Share of the workers' time beside other owners' jobs of the same priority, 1 to "
            f"{MAX_WEIGHT}."
        ),
    )
    requests_per_s: float | None = Field(
        None, gt=0, le=1_000_000, description="Most requests in a second; null for no limit."
    )
    images_per_day: int | None = Field(
        None, ge=1, le=2**53, description="Most images in a day (UTC); null for no limit."
    )
    megapixels_per_day: float | None = Field(
        None, gt=0, le=1e12, description="Most megapixels in a day (UTC); null for no limit."
    )
    webhooks_allowed: bool = Field(True, description="True if jobs may name webhook URLs.")
    urls_allowed: bool = Field(
        True, description="True if jobs may name image URLs for the workers to fetch."
    )
    own_only: bool = Field(
        True,
        description=(
            "True if the key sees only what belongs to its owner; without effect on the scope "
            "admin, which sees everything."
        ),
    )


class KeySecret(Frozen):
    """One secret of a key, as its hash."""

    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description=(
            "SHA-256 of the secret's text, in hexadecimal digits. The text has 142 random bits, "
            "so a slow hash, which passwords need, would add nothing."
        ),
    )
    last_four: str = Field(description="Last four characters of the secret, to recognise it by.")
    created_at: Timestamp = Field(description="Time at which the secret was made.")
    expires_at: Timestamp | None = Field(
        None,
        description="Time from which the secret is refused, set by a rotation; null before one.",
    )


class AccessKey(KeyRights, Frozen):
    """The rights of a key and its hashed secrets; the last message of a key id counts."""

    scopes: Annotated[tuple[Scope, ...], BeforeValidator(_known_scopes)] = Field(
        USUAL_SCOPES, description="Kinds of requests that the key may make."
    )
    key_id: str = Field(description="Id of the key; characters of each of its secrets.")
    owner: str = Field(
        pattern=OWNER,
        description="Account that jobs, uploads, templates and webhook endpoints belong to.",
    )
    secrets: tuple[KeySecret, ...] = Field(
        min_length=1,
        max_length=MAX_SECRETS,
        description=f"Its secrets, oldest first, {MAX_SECRETS} at most.",
    )
    created_at: Timestamp = Field(description="Time at which the key was made.")
    created_by: str = Field("", description="Name of the caller that made it.")
    revision: int = Field(1, ge=1, description="Grows by one with each change.")
    change_id: str = Field(
        "", description="Random id of the last change, by which its writer recognises it."
    )


class KeyRevoked(Frozen):
    """The revocation of a key: it is refused from then on, whatever its other messages say."""

    key_id: str = Field(description="Id of the key.")
    at: Timestamp = Field(description="Time of the revocation.")
    by: str = Field("", description="Name of the caller that revoked it.")


class KeyUsed(Frozen):
    """The last use of a key, right to the minute: an API writes it once a minute at most."""

    key_id: str = Field(description="Id of the key.")
    at: Timestamp = Field(description="Time of a request with the key.")
