"""The record of who did what through the API or its command line, on the topic `audit`."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from schemas.base import Frozen
from schemas.times import Timestamp

# Characters of a path and of a client's name of itself that are kept.
MAX_PATH_CHARS = 1024
MAX_USER_AGENT_CHARS = 256


class AuditKind(StrEnum):
    """The way in which something was done."""

    REQUEST = "request"
    """A request to the API."""
    COMMAND = "command"
    """A command of `imagemill` on a machine with access to the broker."""


class AuditOutcome(StrEnum):
    """The end of a request or a command."""

    SUCCEEDED = "succeeded"
    """Done."""
    REFUSED = "refused"
    """Not done, as the caller is not known (401) or may not do it (403)."""
    FAILED = "failed"
    """Not done for another reason, such as an invalid request."""
    UNKNOWN = "unknown"
    """The client left before its answer; the request may have been done."""


class AuditRecord(Frozen):
    """One request or command: who, what, when, from where. It never has a body or a query."""

    audit_id: str = Field(description="Id of the record; one that is written again has the same.")
    at: Timestamp = Field(description="Time at which the request or command came.")
    kind: AuditKind = Field(description="Request of the API, or command of the command line.")
    action: str = Field(
        description="Operation id of the request, as in the OpenAPI document, or the command, such "
        "as `keys create`; empty for a path that the API does not have."
    )
    outcome: AuditOutcome = Field(description="End of the request or command.")
    status: int | None = Field(
        None,
        ge=100,
        le=599,
        description="Status of the answer; null for a command, and if the client left before it.",
    )
    actor: str = Field(
        description="Name of the caller's key, the subject of its token, or the user of the "
        "operating system; `anonymous` without a key, `nobody` where the API asks for one."
    )
    key_id: str | None = Field(None, description="Id of the caller's key, if it has one.")
    owner: str | None = Field(None, description="Account of the caller, if it has one.")
    address: str | None = Field(
        None,
        description="Address of the client, as the nearest proxy that is trusted says it; of a "
        "command the name of the machine.",
    )
    certificate: str | None = Field(
        None, description="Subject of the client's TLS certificate, if it showed one."
    )
    user_agent: str | None = Field(
        None,
        description=f"The client's name of itself, {MAX_USER_AGENT_CHARS} characters at most.",
    )
    method: str | None = Field(None, description="Method of the request.")
    path: str | None = Field(
        None,
        description=f"Path of the request, without its query; {MAX_PATH_CHARS} characters at most.",
    )
    target: str | None = Field(
        None,
        description="What was made or changed, if that is not in the path: the `Location` of the "
        "answer, or the key id of a command.",
    )
    traceparent: str | None = Field(None, description="W3C trace context of the request.")
