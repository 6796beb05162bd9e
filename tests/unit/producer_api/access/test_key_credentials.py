"""The forms that a key may be sent in, and the sentences for those that are not taken."""

from __future__ import annotations

import base64

import pytest
from multidict import CIMultiDict, MultiDict

from producer_api.access.credentials import AcceptedForms, find_credentials
from producer_api.access.problems import Unauthenticated

HEADERS_ONLY = AcceptedForms()
ALL = AcceptedForms(basic=True, query=True)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def found(headers: dict[str, str], query: str = "", accepted: AcceptedForms = ALL) -> str:
    pairs = [tuple(pair.split("=")) for pair in query.split("&") if pair]
    return find_credentials(CIMultiDict(headers), MultiDict(pairs), accepted)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Authorization": "Bearer im_1"}, ""),
        ({"authorization": "bearer   im_1 "}, ""),
        ({"X-API-Key": "im_1"}, ""),
        ({"X-Api-Key": " im_1 "}, ""),
        ({"Authorization": basic("anyone:im_1")}, ""),
        ({"Authorization": basic(":im_1")}, ""),
        ({}, "key=im_1"),
        ({"Authorization": "Bearer im_1", "X-API-Key": "im_1"}, "key=im_1"),
    ],
)
def test_a_key_is_taken_in_each_form(headers: dict[str, str], query: str) -> None:
    assert found(headers, query) == "im_1"


@pytest.mark.parametrize(
    ("headers", "query", "sentence"),
    [
        ({}, "", "Send an API key as `Authorization: Bearer"),
        ({"Authorization": basic("u:im_1")}, "", "IMAGEMILL_ACCESS_BASIC allows it"),
        ({}, "key=im_1", "IMAGEMILL_ACCESS_QUERY allows them"),
        ({"Authorization": "Bearer"}, "", "must be `Bearer` and one key"),
        ({"Authorization": "Bearer im_1 im_2"}, "", "must be `Bearer` and one key"),
        ({"Authorization": "im_1"}, "", "use Bearer"),
        ({"Authorization": "Digest username=x"}, "", "use Bearer"),
        ({"Authorization": "Bearer im_1", "X-API-Key": "im_2"}, "", "several credentials"),
        ({"X-API-Key": ""}, "", "Send an API key"),
    ],
)
def test_other_forms_are_refused_with_a_sentence(
    headers: dict[str, str], query: str, sentence: str
) -> None:
    with pytest.raises(Unauthenticated, match=sentence):
        found(headers, query, HEADERS_ONLY)


@pytest.mark.parametrize(
    "value", ["!!!", "aW1fMQ==", "\u00e9\udcff", base64.b64encode(b"im_1:").decode()]
)
def test_basic_needs_the_key_as_its_password(value: str) -> None:
    with pytest.raises(Unauthenticated, match="Basic credentials"):
        found({"Authorization": f"Basic {value}"})


def test_a_key_in_the_url_that_is_not_taken_does_no_harm_beside_a_header() -> None:
    assert found({"X-API-Key": "im_1"}, "key=something", HEADERS_ONLY) == "im_1"


def test_two_keys_in_the_url_are_refused() -> None:
    with pytest.raises(Unauthenticated, match="several credentials"):
        found({}, "key=im_1&key=im_2")
