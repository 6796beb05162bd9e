"""The way of requests into httpx, and of its answers and failures out of it."""

from __future__ import annotations

import socket
from typing import Any

import httpx

from imagemill.client.errors import ConnectionFailed
from imagemill.client.settings import ClientSettings
from imagemill.client.wire import Reply, Request

# Seconds to connect; an answer may take longer, a connection does not.
_CONNECT_S = 10.0


def http_options(settings: ClientSettings) -> dict[str, Any]:
    """Return the options of httpx.Client and httpx.AsyncClient alike."""
    from imagemill import __version__

    return {
        "base_url": settings.url,
        "timeout": httpx.Timeout(settings.timeout_s, connect=_CONNECT_S),
        # Results may lie in an object store: the API redirects to it. httpx leaves the key out of
        # a request to another host.
        "follow_redirects": True,
        "headers": {"User-Agent": f"imagemill-client/{__version__}"},
    }


def request_options(request: Request, settings: ClientSettings) -> dict[str, Any]:
    """Return the arguments of httpx's `request` for a request."""
    headers = dict(request.headers)
    # A signed URL of an object store is refused with a second authorization beside it.
    if settings.key is not None and not request.elsewhere:
        headers["Authorization"] = f"Bearer {settings.key}"
    options: dict[str, Any] = {
        "method": request.method,
        "url": request.target,
        "params": dict(request.query) or None,
        "headers": headers,
    }
    if request.timeout_s is not None:
        options["timeout"] = httpx.Timeout(request.timeout_s, connect=_CONNECT_S)
    if request.json is not None:
        options["json"] = request.json
    if request.content is not None:
        options["content"] = request.content
    if request.form:
        # A part with no file name is a field. Given as files, all of them: a form of fields alone
        # would be sent URL-encoded, which the API does not read.
        options["files"] = [
            (name, (None, value) if isinstance(value, str) else value)
            for name, value in request.form
        ]
    return options


def reply_of(response: httpx.Response) -> Reply:
    """Return an answer that was read whole."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def check_listening(settings: ClientSettings) -> None:
    """Raise ConnectionFailed if nothing takes a TCP connection at the API's address."""
    url = httpx.URL(settings.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise _nothing_answers(settings, error) from error


def connection_failed(error: httpx.HTTPError, settings: ClientSettings) -> ConnectionFailed:
    """Return the error of a request without an answer, with what to do about it."""
    if isinstance(error, httpx.ConnectError):
        return _nothing_answers(settings, error)
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(f"{settings.url} did not answer in time.")
    return ConnectionFailed(f"The connection to {settings.url} broke: {error!r}.")


def _nothing_answers(settings: ClientSettings, error: Exception) -> ConnectionFailed:
    return ConnectionFailed(
        f"Nothing answers at {settings.url} ({error}). Start imagemill by `imagemill up`, or give "
        "the URL of a running one: IMAGEMILL_URL."
    )
