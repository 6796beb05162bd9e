"""The closed list of error codes that jobs, items and HTTP answers carry."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field

from schemas.base import Frozen


class ErrorClass(StrEnum):
    """The party that has to act on an error."""

    INPUT = "input"
    """The sender: the same job will fail again."""
    MODEL = "model"
    """The operator of the models."""
    INFRASTRUCTURE = "infrastructure"
    """The operator of the system."""
    CANCELLED = "cancelled"
    """Nobody."""


class ErrorCode(StrEnum):
    """The codes that an item or job can fail with; docs/errors.md explains each."""

    IMAGE_UNDECODABLE = "image_undecodable"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_MISSING = "image_missing"
    URL_BLOCKED = "url_blocked"
    URL_UNREACHABLE = "url_unreachable"
    PARAMS_INVALID = "params_invalid"
    OPERATION_UNKNOWN = "operation_unknown"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_FAILED = "model_failed"
    TIMEOUT = "timeout"
    WORKER_CRASHED = "worker_crashed"
    OUT_OF_MEMORY = "out_of_memory"
    STORE_UNAVAILABLE = "store_unavailable"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


_CLASSES = {
    ErrorCode.IMAGE_UNDECODABLE: ErrorClass.INPUT,
    ErrorCode.IMAGE_TOO_LARGE: ErrorClass.INPUT,
    ErrorCode.IMAGE_MISSING: ErrorClass.INPUT,
    ErrorCode.URL_BLOCKED: ErrorClass.INPUT,
    ErrorCode.URL_UNREACHABLE: ErrorClass.INPUT,
    ErrorCode.PARAMS_INVALID: ErrorClass.INPUT,
    ErrorCode.OPERATION_UNKNOWN: ErrorClass.INPUT,
    ErrorCode.MODEL_UNAVAILABLE: ErrorClass.MODEL,
    ErrorCode.MODEL_FAILED: ErrorClass.MODEL,
    ErrorCode.CANCELLED: ErrorClass.CANCELLED,
}

# Characters of a message: an error may quote text of any length that somebody sent.
_MAX_CHARS = 1000

# The store, the network or the process was at fault, so a second attempt can end differently.
_TRANSIENT = frozenset(
    {
        ErrorCode.URL_UNREACHABLE,
        ErrorCode.TIMEOUT,
        ErrorCode.WORKER_CRASHED,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.STORE_UNAVAILABLE,
    }
)


class JobError(Frozen):
    """The reason why an item or a job did not succeed, as events and HTTP answers show it."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    code: ErrorCode = Field(description="Reason as one of a closed list, for programs.")
    error_class: ErrorClass = Field(alias="class", description="Party that has to act.")
    message: str = Field(
        description=f"Reason as a sentence for people, {_MAX_CHARS} characters at most."
    )

    @classmethod
    def of(cls, code: ErrorCode, message: str) -> JobError:
        """Build the error of this code, with the class that belongs to it.

        The message is truncated to 1000 characters, and characters that UTF-8 cannot encode, such
        as single surrogates, are replaced.
        """
        error = cls.trusted(
            code=code,
            error_class=_CLASSES.get(code, ErrorClass.INFRASTRUCTURE),
            message=message.encode(errors="replace").decode(),
        )
        return error.truncated(_MAX_CHARS)

    def truncated(self, characters: int) -> JobError:
        """Return the error with a message of at most that many characters."""
        if len(self.message) <= characters:
            return self
        return self.evolve(message=f"{self.message[: characters - 3]}...")

    @property
    def transient(self) -> bool:
        """True if another attempt may succeed."""
        return self.code in _TRANSIENT
