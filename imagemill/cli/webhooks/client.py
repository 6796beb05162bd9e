"""Requests of the command line to the HTTP API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from imagemill.local.errors import LocalError

_TIMEOUT_S = 60.0
_HTTP_URL = re.compile(r"https?://[^/\s?#]+[^\s?#]*")


class RequestRefused(Exception):
    """The API refused a request; the text is its sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: another host would get the key."""

    def redirect_request(self, *_: Any) -> None:
        return None


class ApiClient:
    """Sends JSON requests to one API."""

    def __init__(self, url: str, key: str | None) -> None:
        """Raises RequestRefused when the URL or the key cannot be sent."""
        if not _HTTP_URL.fullmatch(url):
            raise RequestRefused(
                400, "The API's URL must begin with http:// or https://; set IMAGEMILL_URL."
            )
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise RequestRefused(
                400, "The API key contains letters that no key has; set IMAGEMILL_API_KEY."
            )
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._opener = build_opener(_NoRedirects)

    def get(self, *path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the answer to a GET. Raises as `send`."""
        return self.send("GET", *path, query=query)

    def send(
        self,
        method: str,
        *path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        wait_s: int | None = None,
    ) -> Any:
        """Return the JSON answer to a request below `/v1/webhooks`; None for an empty one.

        Args:
            method: HTTP method.
            path: segments of the path; each is quoted.
            body: sent as JSON unless it is None.
            query: parameters; those that are None are left out.
            wait_s: seconds that the API is to wait for the outcome.

        Raises:
            RequestRefused: the answer's status is not 2xx.
            LocalError: there is no answer, or it is not the API's.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        url = "/".join([f"{self._url}/v1/webhooks", *(quote(part, safe="") for part in path)])
        if given:
            url += f"?{urlencode(given)}"
        headers = dict(self._headers)
        if wait_s is not None:
            headers["Prefer"] = f"wait={wait_s}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = Request(url, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return self._document(answer.read())
        except HTTPError as error:
            raise self._refusal(error) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise LocalError(
                f"{self._url} does not answer ({reason}): set IMAGEMILL_URL to the API's address."
            ) from error

    def _document(self, body: bytes) -> Any:
        if not body:
            return None
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._foreign() from error

    def _refusal(self, error: HTTPError) -> Exception:
        """Return the API's refusal; a LocalError when the answer is not that of an API."""
        try:
            detail = json.loads(error.read())["detail"]
        except (ValueError, KeyError, TypeError, HTTPException, OSError):
            return self._foreign()
        return RequestRefused(error.code, str(detail))

    def _foreign(self) -> LocalError:
        return LocalError(
            f"{self._url} does not answer as the API does: set IMAGEMILL_URL to the API's address."
        )
