"""Requests and answers as plain values: what is sent, and how answers are read. No I/O."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from imagemill.client.errors import ApiError, api_error_class

# Part of a form: field name, and either its text or a file as (name, bytes, media type).
FormPart = tuple[str, str | tuple[str, bytes, str]]
# Answers that another try may turn into success. 408: the server gave up waiting for the body.
_RETRIED = frozenset({408, 425, 429, 502, 503, 504})


@dataclass(frozen=True)
class Request:
    """A request to the API; `target` is a path of it, or the URL of another host.

    `timeout_s` is for the whole answer, None for the client's own.
    """

    method: str
    target: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: tuple[FormPart, ...] = ()
    content: bytes | None = None
    timeout_s: float | None = None

    @property
    def elsewhere(self) -> bool:
        """True if it goes to another host than the API, such as an object store."""
        return "://" in self.target


@dataclass(frozen=True)
class Reply:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    content: bytes

    def json(self) -> Any:
        """Return the JSON in it.

        Raises:
            ApiError: it is none: something else than imagemill answers there.
        """
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise ApiError(
                self.status, "not_json", "The answer is not JSON; is this an imagemill API?"
            ) from error

    @property
    def retry_after_s(self) -> float | None:
        """Seconds of Retry-After, a number or a date; None without one that can be read."""
        text = self.headers.get("retry-after", "")
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time())
        except ValueError:
            return None


@dataclass(frozen=True)
class RetryPolicy:
    """When a request is sent again: exponential backoff with full jitter, or as the API asks.

    Attributes:
        retries: tries after the first.
        base_s: seconds of the first backoff at most; each next one is twice as long.
        max_s: seconds of any wait at most. An API that asks for a longer one gets no retry.
    """

    retries: int = 4
    base_s: float = 0.5
    max_s: float = 30.0

    def delay_s(self, attempt: int, reply: Reply | None) -> float | None:
        """Return the seconds until the next try, None for none.

        `attempt` counts from 1; `reply` is None where the connection failed.
        """
        if attempt > self.retries or (reply is not None and reply.status not in _RETRIED):
            return None
        backoff_s = random.random() * min(self.max_s, self.base_s * 2 ** (attempt - 1))
        asked_s = reply.retry_after_s if reply is not None else None
        if asked_s is None:
            return backoff_s
        # Jitter on top, or all clients that were refused together come again together.
        return asked_s + backoff_s if asked_s <= self.max_s else None


def problem(reply: Reply) -> ApiError:
    """Return the error of an answer of 400 or above."""
    try:
        document = json.loads(reply.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        document = {}
    code = str(document.get("code") or document.get("error") or "http_error")
    detail = str(document.get("detail") or f"The API answered {reply.status}.")
    return api_error_class(reply.status)(reply.status, code, detail, document, reply.retry_after_s)
