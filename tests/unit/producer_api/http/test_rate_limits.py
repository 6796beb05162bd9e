"""Limits in headers, as the IETF draft has them."""

from __future__ import annotations

from producer_api.http.rate_limits import LimitState, limit_headers, over_limit

REQUESTS = LimitState("requests", 5, 4, 1, 1)
IMAGES = LimitState("images-per-day", 100, 0, 3600, 86_400, "images")
QUEUE = LimitState("queue", 1000, 0, 10, unit="jobs")


def test_the_headers_list_each_limit_with_its_parameters() -> None:
    assert limit_headers([REQUESTS, IMAGES]) == {
        "RateLimit-Policy": '"requests";q=5;w=1, "images-per-day";q=100;qu="images";w=86400',
        "RateLimit": '"requests";r=4;t=1, "images-per-day";r=0;t=3600',
    }
    assert limit_headers([QUEUE])["RateLimit-Policy"] == '"queue";q=1000;qu="jobs"'


def test_an_answer_without_limits_has_no_headers_of_them() -> None:
    assert limit_headers([]) == {}


def test_a_429_names_the_limit_and_when_there_is_more() -> None:
    problem = over_limit("quota_exceeded", "Too many.", IMAGES)
    assert problem.document()["violated-policies"] == ["images-per-day"]
    assert problem.headers["Retry-After"] == "3600"
    assert problem.headers["RateLimit"].endswith("t=3600")
