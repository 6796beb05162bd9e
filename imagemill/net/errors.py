"""Refusals of a URL that a user gave us, each with the error code of its item."""

from __future__ import annotations

from schemas.errors import ErrorCode


class UrlRefused(Exception):
    """Base of the refusals. The text names no address behind the URL.

    `transient` is true where another attempt may succeed.
    """

    code: ErrorCode
    transient = False


class UrlBlocked(UrlRefused):
    """The form of the URL or the address behind it is not allowed."""

    code = ErrorCode.URL_BLOCKED


class UrlUnreachable(UrlRefused):
    """The URL is allowed, but gave no usable answer."""

    code = ErrorCode.URL_UNREACHABLE

    def __init__(self, message: str, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UrlTooLarge(UrlRefused):
    """The file at the URL has more bytes than an image may have."""

    code = ErrorCode.IMAGE_TOO_LARGE
