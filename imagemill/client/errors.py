"""Errors of the client, by who has to act: the caller, the operator, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagemill.client.documents import Job


class ImagemillError(Exception):
    """Any failure of a call of the client."""


class ConnectionFailed(ImagemillError):
    """No answer came: nothing listens there, the connection broke, or the time was up."""


class ApiError(ImagemillError):
    """An answer of 400 or above.

    Attributes:
        status: HTTP status.
        code: code of the problem, for programs, such as `params_invalid`.
        detail: sentence that says what is wrong and what to do.
        document: the whole problem document (RFC 9457); empty if the answer was none.
        retry_after_s: seconds to wait before another try, where the API says so.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        document: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.document = dict(document or {})
        self.retry_after_s = retry_after_s


class InvalidRequest(ApiError):
    """400, 413, 415 or 422: the same request will fail again; `document` names the fields."""


class Unauthorized(ApiError):
    """401: the API asks for a key, or does not know the one that was sent."""


class Forbidden(ApiError):
    """403: the key may not do this."""


class NotFound(ApiError):
    """404 or 410: there is no such job, item or file, or none that this key may see."""


class Conflict(ApiError):
    """409: the job is not in a state for this, such as a cancel of one that ended."""


class RateLimited(ApiError):
    """429, also after the retries: over a limit or a quota, or the queue is full."""


class Unavailable(ApiError):
    """5xx, also after the retries: the API, its broker or its store does not work."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: RateLimited,
}


def api_error_class(status: int) -> type[ApiError]:
    """Return the class of the error that an HTTP status stands for."""
    if status >= 500:
        return Unavailable
    return _BY_STATUS.get(status, InvalidRequest)


class WaitTimeout(ImagemillError):
    """The job had not ended when the time was up; it goes on.

    Attributes:
        job: the job as it was read last.
    """

    def __init__(self, job: Job, timeout_s: float) -> None:
        super().__init__(f"job {job.id} is {job.status} after {timeout_s:g} s; it goes on")
        self.job = job


class JobFailed(ImagemillError):
    """The job, or the item asked for, ended without a result.

    Attributes:
        job: the job.
        code: error code, such as `image_undecodable`.
        message: sentence for people.
    """

    def __init__(self, job: Job, code: str, message: str) -> None:
        super().__init__(f"{message} ({code}, job {job.id})")
        self.job = job
        self.code = code
        self.message = message


class InputFailed(JobFailed):
    """The image or the params are at fault: the same job will fail again."""


class ModelFailed(JobFailed):
    """The model is missing or does not work: its operator has to act."""


class InfrastructureFailed(JobFailed):
    """The system failed, also after its own attempts; the same job may succeed later."""


class JobCancelled(JobFailed):
    """The job was cancelled before it ended."""


_BY_CLASS: Mapping[str, type[JobFailed]] = {
    "input": InputFailed,
    "model": ModelFailed,
    "infrastructure": InfrastructureFailed,
    "cancelled": JobCancelled,
}


def job_error(job: Job, index: int = 0) -> JobFailed:
    """Return the error of an item that ended without a result, or of its job."""
    error = job.items[index].error if index < len(job.items) else None
    error = error or job.error
    if error is None:
        return JobFailed(job, "no_result", f"Item {index} left no result.")
    return _BY_CLASS.get(error.error_class, JobFailed)(job, error.code, error.message)
