"""What handlers read from requests besides bodies: waits, limits, filters; and JSON answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from producer_api.http.problems import Problem, field_problem
from producer_api.ids import is_job_id
from schemas.times import from_epoch, to_epoch

_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)
# Digits of the largest 63 bit number, at least. Python itself refuses thousands of them.
_LONGEST_NUMBER = 20
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")


def json_answer(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A document as a JSON response."""
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def prefer_wait(request: web.Request, limit_s: float) -> float | None:
    """Seconds of `Prefer: wait=N`, at most `limit_s`; None without that preference."""
    found = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(float(found[1]), limit_s) if found else None


def query_wait(request: web.Request, limit_s: float) -> float:
    """Seconds of `?wait=N`, at most `limit_s`; 0 without it. Raises Problem when no number."""
    text = request.query.get("wait")
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise field_problem("wait", "expected seconds, 0 or more", code="query_invalid")
    return min(seconds, limit_s)


def whole_number(text: str) -> int | None:
    """The number that the text is, in plain digits; None when it is none or longer than any."""
    plain = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
    return int(text) if plain else None


def query_int(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query string within bounds. Raises Problem otherwise."""
    text = request.query.get(name)
    if text is None:
        return default
    number = whole_number(text)
    if number is None or not low <= number <= high:
        raise field_problem(
            name, f"expected a whole number from {low} to {high}", code="query_invalid"
        )
    return number


def query_time(request: web.Request, name: str) -> str:
    """A moment of the query string as our timestamps write it; empty without it."""
    text = request.query.get(name)
    if not text:
        return ""
    try:
        # A plus sign that was not escaped arrives as a space.
        return from_epoch(to_epoch(text.replace(" ", "+")))
    except (ValueError, OverflowError) as error:
        raise field_problem(
            name, "expected a time such as 2026-01-31T12:00:00Z", code="query_invalid"
        ) from error


def query_values(request: web.Request, name: str) -> list[str]:
    """All values of a parameter that may be repeated, or hold several between commas."""
    values = []
    for text in request.query.getall(name, []):
        values += [part for part in text.split(",") if part]
    return values


def job_id_of(request: web.Request) -> str:
    """The job id in the path. Raises the 404 of an unknown job when it can be none."""
    job_id = request.match_info["job_id"]
    if not is_job_id(job_id):
        raise unknown_job(job_id)
    return job_id


def unknown_job(job_id: str) -> Problem:
    """The answer to an id that no job has."""
    return Problem(404, "not_found", f"There is no job {job_id[:64]}; it may have been removed.")


def traceparent_of(request: web.Request) -> str | None:
    """The W3C trace context of the request, if it has a valid one."""
    text = request.headers.get("traceparent", "")
    return text if _TRACEPARENT.match(text) else None
