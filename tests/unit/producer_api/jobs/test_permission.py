"""Jobs that a key may not ask for."""

from __future__ import annotations

from typing import Any

import pytest

from producer_api.access.caller import ANYONE, Caller
from producer_api.http.forms import SubmitBody
from producer_api.http.problems import Problem
from producer_api.jobs.permission import check_permitted, limited_priority
from schemas.jobs import Priority

URL = {"inputs": [{"url": "https://example.org/a.png"}]}
UPLOAD = {"inputs": [{"upload_id": "abcdefgh"}]}
WEBHOOK = {"webhook": {"url": "https://example.org/hook"}}


def body(**fields: Any) -> SubmitBody:
    return SubmitBody.model_validate({"operation": "noop"} | fields)


@pytest.mark.parametrize(
    ("caller", "asked", "code", "says"),
    [
        (Caller(max_priority=Priority.NORMAL), {"priority": "high"}, "priority_not_allowed",
         "priority normal at most"),
        (Caller(max_priority=Priority.LOW), {"priority": "normal"}, "priority_not_allowed",
         "priority low at most"),
        (Caller(webhooks_allowed=False), WEBHOOK, "webhook_not_allowed", "webhook URLs"),
        (Caller(urls_allowed=False), URL, "url_not_allowed", "image URLs"),
    ],
)  # fmt: skip
def test_what_a_key_does_not_allow_is_a_403_with_a_sentence(
    caller: Caller, asked: dict, code: str, says: str
) -> None:
    with pytest.raises(Problem) as caught:
        check_permitted(body(**asked), caller)
    assert (caught.value.status, caught.value.code) == (403, code)
    assert says in caught.value.detail


@pytest.mark.parametrize("asked", [{}, {"priority": "high"}, WEBHOOK, URL, UPLOAD])
def test_an_api_without_keys_allows_everything(asked: dict) -> None:
    check_permitted(body(**asked), ANYONE)


def test_a_key_allows_all_else() -> None:
    strict = Caller(max_priority=Priority.LOW, webhooks_allowed=False, urls_allowed=False)
    check_permitted(body(**UPLOAD), strict)
    check_permitted(body(priority="low"), strict)


@pytest.mark.parametrize(
    ("highest", "expected"),
    [("high", "high normal low"), ("normal", "normal normal low"), ("low", "low low low")],
)
def test_a_priority_is_lowered_to_the_highest_that_a_key_allows(
    highest: str, expected: str
) -> None:
    caller = Caller(max_priority=Priority(highest))
    assert [limited_priority(priority, caller) for priority in Priority] == expected.split()
