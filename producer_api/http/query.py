"""Values that handlers read from a request beside its body, and JSON answers.

A query parameter is given once, in the form that the OpenAPI document says; anything else is a
422 that names it, since a value that was guessed at, or dropped, is one that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from producer_api.http.problems import Problem, field_problem
from producer_api.ids import is_job_id
from producer_api.read_model.errors import InvalidCursor
from producer_api.read_model.listing import Cursor
from schemas.times import from_epoch, to_epoch

_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)
# Digits of a number. 20 hold any of 64 bits; Python refuses to read thousands.
_MAX_DIGITS = 20
_SECONDS = re.compile(rf"\d{{1,{_MAX_DIGITS}}}(\.\d{{1,{_MAX_DIGITS}}})?", re.ASCII)
# RFC 3339, 5.6: with a zone, since that of the server is nobody's business.
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def json_answer(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Make a JSON response of a document."""
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def prefer_wait(request: web.Request, limit_s: float) -> float | None:
    """Return the seconds of `Prefer: wait=N`, at most `limit_s`; None without that preference."""
    found = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(float(found[1]), limit_s) if found else None


def query_text(request: web.Request, name: str) -> str | None:
    """Return a query parameter; None without it.

    Raises:
        Problem: 422 when it is given more than once.
    """
    values = request.query.getall(name, ())
    if len(values) > 1:
        raise _query_problem(name, "given more than once")
    return values[0] if values else None


def query_wait(request: web.Request, limit_s: float) -> float:
    """Return the seconds of `?wait=N`, at most `limit_s`; 0 without it.

    Raises:
        Problem: 422 when it is no decimal number, or given more than once.
    """
    text = query_text(request, "wait")
    if text is None:
        return 0.0
    if not _SECONDS.fullmatch(text):
        raise _query_problem("wait", "expected seconds, 0 or more, in decimal digits")
    return min(float(text), limit_s)


def whole_number(text: str) -> int | None:
    """Return the number that decimal digits stand for; None for other text, and over 20 digits."""
    plain = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if plain else None


def query_int(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number from `low` to `high` of the query string.

    Raises:
        Problem: 422 when it is none, or given more than once.
    """
    text = query_text(request, name)
    if text is None:
        return default
    number = whole_number(text)
    if number is None or not low <= number <= high:
        raise _query_problem(name, f"expected a whole number from {low} to {high}")
    return number


def query_time(request: web.Request, name: str) -> str:
    """Return a time of the query string as a timestamp of ours; empty without it.

    Raises:
        Problem: 422 when it is no RFC 3339 date and time with a zone, or given more than once.
    """
    text = query_text(request, name)
    if not text:
        return ""
    try:
        # A plus sign that was not escaped arrives as a space.
        return as_timestamp(re.sub(r" (\d\d:\d\d)$", r"+\1", text))
    except ValueError as error:
        raise _query_problem(name, str(error)) from error


def as_timestamp(text: str) -> str:
    """Return an RFC 3339 date and time with a zone as a timestamp of ours.

    Raises:
        ValueError: it is none.
    """
    try:
        if _DATE_TIME.fullmatch(text):
            return from_epoch(to_epoch(text.upper()))
    except (ValueError, OverflowError):
        # Such as the 31st of February.
        pass
    raise ValueError("expected a time such as 2026-01-31T12:00:00Z")


def query_cursor(request: web.Request) -> Cursor | None:
    """Return the cursor of a page; None for the first page.

    Raises:
        Problem: 422 when it is none of this API's, or given more than once.
    """
    text = query_text(request, "cursor")
    if not text:
        return None
    try:
        return Cursor.decode(text)
    except InvalidCursor as error:
        message = "not a cursor of this list; leave it out for the first page"
        raise _query_problem("cursor", message) from error


def query_values(request: web.Request, name: str) -> list[str]:
    """List the values of a parameter that may be repeated, or hold several between commas."""
    values = []
    for text in request.query.getall(name, []):
        values += [part for part in text.split(",") if part]
    return values


def _query_problem(name: str, message: str) -> Problem:
    return field_problem(name, message, code="query_invalid")


def job_id_of(request: web.Request) -> str:
    """Return the job id in the path; raise the 404 of an unknown job if it can be none."""
    job_id = request.match_info["job_id"]
    if not is_job_id(job_id):
        raise unknown_job(job_id)
    return job_id


def unknown_job(job_id: str) -> Problem:
    """Make the answer to an id that no job has."""
    return Problem(404, "not_found", f"There is no job {job_id[:64]}; it may have been removed.")


def traceparent_of(request: web.Request) -> str | None:
    """Return the W3C trace context of the request, if it has a valid one."""
    text = request.headers.get("traceparent", "")
    return text if _TRACEPARENT.match(text) else None
