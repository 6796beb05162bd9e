"""Settings of a client, from its arguments, else from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from imagemill.client.wire import RetryPolicy

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class ClientSettings:
    """Settings of a client.

    Attributes:
        url: URL of the API, without `/v1`.
        key: API key or token; None for an API that asks for none.
        timeout_s: seconds until an answer must have come.
        retry: when requests are sent again.
    """

    url: str
    key: str | None = field(repr=False)
    timeout_s: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def of(cls, url: str | None, key: str | None, timeout_s: float, retries: int) -> ClientSettings:
        """Complete the arguments by IMAGEMILL_URL and IMAGEMILL_API_KEY.

        Raises:
            ValueError: the URL is not one of http or https.
        """
        given = url or os.environ.get("IMAGEMILL_URL") or DEFAULT_URL
        if not given.startswith(("http://", "https://")):
            raise ValueError(
                f"{given!r} is no URL of an API; it must begin with http:// or https://, such as "
                f"{DEFAULT_URL}."
            )
        return cls(
            given.rstrip("/"),
            key or os.environ.get("IMAGEMILL_API_KEY") or None,
            timeout_s,
            RetryPolicy(retries),
        )
