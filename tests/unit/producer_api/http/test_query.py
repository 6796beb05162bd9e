"""Query parameters: read strictly, and once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request

from producer_api.http.problems import Problem
from producer_api.http.query import (
    prefer_wait,
    query_int,
    query_text,
    query_time,
    query_values,
    query_wait,
)

READERS: dict[str, Callable[..., Any]] = {
    "wait": lambda request: query_wait(request, 60.0),
    "limit": lambda request: query_int(request, "limit", 20, 1, 100),
    "since": lambda request: query_time(request, "since"),
    "cursor": lambda request: query_text(request, "cursor"),
}


def read(name: str, query: str) -> Any:
    return READERS[name](make_mocked_request("GET", f"/v1/jobs?{query}"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("wait", "0", 0.0), ("wait", "5", 5.0), ("wait", "0.5", 0.5), ("wait", "007", 7.0),
        ("wait", "99999999", 60.0),
        ("limit", "1", 1), ("limit", "100", 100),
        ("since", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("since", "2026-01-31T12:00:00.25z", "2026-01-31T12:00:00.250Z"),
        ("since", "2026-01-31T14:00:00+02:00", "2026-01-31T12:00:00.000Z"),
        ("since", "2026-01-31 12:00:00-00:00", "2026-01-31T12:00:00.000Z"),
        ("since", "", ""),
    ],
)  # fmt: skip
def test_what_is_written_as_documented_is_read(name: str, text: str, value: object) -> None:
    assert read(name, f"{name}={quote(text)}") == value


def test_a_plus_sign_that_was_not_escaped_is_one() -> None:
    assert read("since", "since=2026-01-31T14:00:00+02:00") == "2026-01-31T12:00:00.000Z"


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        (
            "wait",
            ["", " 5", "+5", "-1", "1e1", "1_0", ".5", "5.", "nan", "inf", "true", "5s", "\u0665",
             "0x5", "1,5", "9" * 5000],
        ),
        ("limit", ["", "0", "101", "1.0", "+1", " 1", "1 ", "1_0", "true", "\u0661", "9" * 5000]),
        (
            "since",
            ["yesterday", "2026-01-31", "2026-01-31T12:00:00", "20260131T120000Z", "1769860800",
             "2026-W05-6T12:00:00Z", "2026-02-30T12:00:00Z", "2026-01-31T12:00Z",
             "0000-01-01T00:00:00Z",
             "2026-01-31T12:00:00+99:00"],
        ),
    ],
)  # fmt: skip
def test_what_is_not_is_refused_by_name(name: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(Problem) as caught:
            read(name, f"{name}={quote(text)}")
        assert (caught.value.status, caught.value.code) == (422, "query_invalid")
        assert caught.value.members["errors"][0]["field"] == name


@pytest.mark.parametrize("name", READERS)
def test_a_parameter_that_is_given_twice_is_refused(name: str) -> None:
    with pytest.raises(Problem, match="given more than once"):
        read(name, f"{name}=1&{name}=1")


def test_a_list_may_be_repeated_or_written_with_commas() -> None:
    request = make_mocked_request("GET", "/v1/jobs?status=queued,running&status=failed&status=")
    assert query_values(request, "status") == ["queued", "running", "failed"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5.0), ("respond-async, wait=5", 5.0), ('wait="5"', 5.0), ("Wait = 5", 5.0),
        ("wait=900", 60.0), ("wait=x", None), ("await=5", None), ("wait=5x", None), ("", None),
    ],
)  # fmt: skip
def test_a_preference_that_is_not_understood_is_none(header: str, seconds: float | None) -> None:
    """RFC 7240, 2: it is not an error."""
    request = make_mocked_request("POST", "/v1/jobs", {"Prefer": header})
    assert prefer_wait(request, 60.0) == seconds
