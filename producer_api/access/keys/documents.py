"""Keys as the API and the command line take and show them; no hash of a secret is among it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from producer_api.access.keys.ring import KeyRing, KnownKey
from schemas.access import OWNER, KeyRights, KeySecret, KeyStatus
from schemas.base import Strict
from schemas.times import Timestamp, now

# A month: with a longer overlap, a rotation ends nothing.
MAX_OVERLAP_S = 31 * 86_400
DEFAULT_OVERLAP_S = 86_400.0


def _in_the_future(at: str | None) -> str | None:
    if at is not None and at <= now():
        raise ValueError("must be in the future; revoke a key to end it now")
    return at


FutureTime = Annotated[Timestamp | None, AfterValidator(_in_the_future)]


class _SentRights(KeyRights, Strict):
    """Rights that a client sends."""

    expires_at: FutureTime = Field(
        None, description="Time in the future from which the key is refused; null for never."
    )


class KeyBody(_SentRights):
    """A key to create."""

    owner: str | None = Field(
        None,
        pattern=OWNER,
        description=(
            "Account that the key's jobs, uploads, templates and webhook endpoints belong to; "
            "several keys may share one. The key's own id if null."
        ),
    )


def _without_defaults(schema: dict[str, Any]) -> None:
    """Remove the defaults, which clients made from the schema would send."""
    for field in schema["properties"].values():
        field.pop("default", None)


class KeyPatch(_SentRights):
    """The rights of a key to change; members that are left out stay as they are."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: str = Field(
        default_factory=str,
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Name of the key for people, 1 to 100 characters.",
    )

    def changes(self) -> dict[str, Any]:
        """Return the members that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class RotateBody(Strict):
    """A rotation: another secret, and an end for the former one."""

    overlap_s: float = Field(
        DEFAULT_OVERLAP_S,
        ge=0,
        le=MAX_OVERLAP_S,
        description=(
            f"Seconds that the former secret stays valid, 0 to {MAX_OVERLAP_S}; a day by default."
        ),
    )


class KeySecretDocument(BaseModel):
    """A secret of a key, without the secret."""

    last_four: str = Field(description="Last four characters of the secret.")
    created_at: Timestamp = Field(description="Time at which the secret was made.")
    expires_at: Timestamp | None = Field(
        description="Time from which the secret is refused; null while it is the newest."
    )

    @classmethod
    def of(cls, secret: KeySecret) -> KeySecretDocument:
        """Make the document of a stored secret."""
        return cls(**secret.model_dump(include=set(cls.model_fields)))


class KeyDocument(KeyRights):
    """A key."""

    id: str = Field(description="Id of the key.")
    owner: str = Field(description="Account of what the key makes.")
    status: KeyStatus = Field(description="State of the key.")
    secrets: tuple[KeySecretDocument, ...] = Field(
        description="Its secrets, oldest first; two during a rotation."
    )
    created_at: Timestamp = Field(description="Time at which the key was made.")
    created_by: str = Field(description="Name of the caller that made it.")
    last_used_at: Timestamp | None = Field(
        description="Time of its last use, right to the minute; null before the first."
    )
    revoked_at: Timestamp | None = Field(description="Time of its revocation; null before one.")
    revoked_by: str | None = Field(description="Name of the caller that revoked it.")

    @classmethod
    def of(cls, known: KnownKey, ring: KeyRing) -> KeyDocument:
        """Make the document of a key that can be read."""
        key, revoked = known.key, known.revoked
        assert key is not None
        status = KeyStatus.ACTIVE
        if revoked is not None:
            status = KeyStatus.REVOKED
        elif key.expires_at is not None and key.expires_at <= now():
            status = KeyStatus.EXPIRED
        return cls(
            **key.model_dump(include={*KeyRights.model_fields, "owner", "created_at"}),
            id=key.key_id,
            created_by=key.created_by,
            status=status,
            secrets=tuple(map(KeySecretDocument.of, key.secrets)),
            last_used_at=ring.last_used_at(key.key_id),
            revoked_at=revoked.at if revoked else None,
            revoked_by=revoked.by if revoked else None,
        )


class NewKeyDocument(KeyDocument):
    """A key with its new secret, which is shown this once."""

    secret: str = Field(
        description="The secret, for `Authorization: Bearer`. It is stored nowhere: keep it now."
    )


class KeyList(BaseModel):
    """All keys, oldest first."""

    keys: tuple[KeyDocument, ...] = Field(description="The keys.")
