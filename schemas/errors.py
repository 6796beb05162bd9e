"""The closed list of error codes that jobs, items and HTTP answers carry."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class ErrorClass(StrEnum):
    """Who has to act: the sender (input), the operator (model, infrastructure), or nobody."""

    INPUT = "input"
    MODEL = "model"
    INFRASTRUCTURE = "infrastructure"
    CANCELLED = "cancelled"


class ErrorCode(StrEnum):
    """Every code an item or job can fail with; documented in docs/errors.md."""

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

# An error may quote what somebody sent.
_MAX_CHARS = 1000

# A second try can end differently: the store, the network or the process was at fault.
_TRANSIENT = frozenset(
    {
        ErrorCode.URL_UNREACHABLE,
        ErrorCode.TIMEOUT,
        ErrorCode.WORKER_CRASHED,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.STORE_UNAVAILABLE,
    }
)


class JobError(BaseModel):
    """Why an item or a job did not succeed, as events and HTTP answers show it."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    code: ErrorCode
    error_class: ErrorClass = Field(alias="class")
    message: str

    @classmethod
    def of(cls, code: ErrorCode, message: str) -> JobError:
        """The error of this code, with the class that belongs to it.

        Of a message of any length, and of any characters, such as halves of one.
        """
        error = cls.model_construct(
            code=code,
            error_class=_CLASSES.get(code, ErrorClass.INFRASTRUCTURE),
            message=message.encode(errors="replace").decode(),
        )
        return error.shortened(_MAX_CHARS)

    def shortened(self, characters: int) -> JobError:
        """The same with a message of no more than so many characters."""
        if len(self.message) <= characters:
            return self
        return self.model_copy(update={"message": f"{self.message[: characters - 3]}..."})

    @property
    def transient(self) -> bool:
        """Whether trying again may help."""
        return self.code in _TRANSIENT
