"""Conditional and range requests, as the tables of RFC 9110 order them."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from producer_api.http.conditions import Validators, select

SIZE = 100
FILE = Validators("abc-64", 784111777, SIZE)
ETAG = '"abc-64"'
AT = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"


def answer(
    *fields: tuple[str, str], method: str = "GET", file: Validators = FILE
) -> tuple[int, int, int]:
    chosen = select(method, CIMultiDictProxy(CIMultiDict(fields)), file)
    return int(chosen.status), chosen.first, chosen.stop


WHOLE = (200, 0, SIZE)
UNCHANGED = (304, 0, 0)
FAILED = (412, 0, 0)
PAST_THE_END = (416, 0, 0)


def test_the_validators_are_sent() -> None:
    sent = CIMultiDict(FILE.headers())
    assert sent == CIMultiDict({"ETag": ETAG, "Last-Modified": AT, "Accept-Ranges": "bytes"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        # 13.1.1: strong comparison.
        ("If-Match", ETAG, WHOLE),
        ("If-Match", "*", WHOLE),
        ("If-Match", f'"other", {ETAG}', WHOLE),
        ("If-Match", '"other"', FAILED),
        ("If-Match", f"W/{ETAG}", FAILED),
        ("If-Match", "abc-64", FAILED),
        # 13.1.2: weak comparison.
        ("If-None-Match", ETAG, UNCHANGED),
        ("If-None-Match", f"W/{ETAG}", UNCHANGED),
        ("If-None-Match", "*", UNCHANGED),
        ("If-None-Match", f'"other",{ETAG}', UNCHANGED),
        ("If-None-Match", '"other"', WHOLE),
        ("If-None-Match", '"*"', WHOLE),
        ("If-None-Match", '"a,b"', WHOLE),
        # 13.1.3; three forms of a date (5.6.7), and dates that are none.
        ("If-Modified-Since", AT, UNCHANGED),
        ("If-Modified-Since", AFTER, UNCHANGED),
        ("If-Modified-Since", BEFORE, WHOLE),
        ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", UNCHANGED),
        ("If-Modified-Since", "Sun Nov  6 08:49:37 1994", UNCHANGED),
        ("If-Modified-Since", "yesterday", WHOLE),
        ("If-Modified-Since", "", WHOLE),
        # 13.1.4
        ("If-Unmodified-Since", AT, WHOLE),
        ("If-Unmodified-Since", AFTER, WHOLE),
        ("If-Unmodified-Since", BEFORE, FAILED),
        ("If-Unmodified-Since", "yesterday", WHOLE),
    ],
)
def test_one_precondition(
    method: str, name: str, value: str, expected: tuple[int, int, int]
) -> None:
    assert answer((name, value), method=method) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # 13.2.2, step 2: If-Unmodified-Since counts only without If-Match.
        ([("If-Match", ETAG), ("If-Unmodified-Since", BEFORE)], WHOLE),
        ([("If-Match", '"other"'), ("If-Unmodified-Since", AFTER)], FAILED),
        # Step 4: If-Modified-Since counts only without If-None-Match.
        ([("If-None-Match", '"other"'), ("If-Modified-Since", AFTER)], WHOLE),
        ([("If-None-Match", ETAG), ("If-Modified-Since", BEFORE)], UNCHANGED),
        # Steps 1 and 2 come before 3 and 4.
        ([("If-Match", '"other"'), ("If-None-Match", ETAG)], FAILED),
        ([("If-Match", ETAG), ("If-None-Match", ETAG)], UNCHANGED),
        ([("If-Unmodified-Since", BEFORE), ("If-Modified-Since", AFTER)], FAILED),
        # Step 5 comes last.
        ([("If-None-Match", ETAG), ("Range", "bytes=0-1")], UNCHANGED),
        ([("If-Match", '"other"'), ("Range", "bytes=0-1")], FAILED),
        ([("If-Match", '"other"'), ("Range", "bytes=900-")], FAILED),
        ([("If-Match", ETAG), ("Range", "bytes=0-1")], (206, 0, 2)),
        # 5.3: lines of one name are one list.
        ([("If-None-Match", '"other"'), ("If-None-Match", ETAG)], UNCHANGED),
        ([("If-Match", '"other"'), ("If-Match", ETAG)], WHOLE),
    ],
)
def test_the_order_of_several_preconditions(
    fields: list[tuple[str, str]], expected: tuple[int, int, int]
) -> None:
    assert answer(*fields) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ETAG, (206, 0, 4)),
        ('"zz"', WHOLE),
        (f"W/{ETAG}", WHOLE),
        (AT, (206, 0, 4)),
        (BEFORE, WHOLE),
        # 13.1.5: the date must match exactly, a later one is no earlier state of the file.
        (AFTER, WHOLE),
        ("yesterday", WHOLE),
        ("*", WHOLE),
        (f'{ETAG}, "other"', WHOLE),
    ],
)
def test_a_range_of_another_state_of_the_file_is_the_whole_file(
    value: str, expected: tuple[int, int, int]
) -> None:
    assert answer(("If-Range", value), ("Range", "bytes=0-3")) == expected
    assert answer(("If-Range", value)) == WHOLE
    # Without a match the range is not looked at, nor refused.
    past = answer(("If-Range", value), ("Range", "bytes=900-"))
    assert past == (WHOLE if expected == WHOLE else PAST_THE_END)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", (206, 0, 1)),
        ("bytes=0-99", (206, 0, 100)),
        ("bytes=10-", (206, 10, 100)),
        ("bytes=10-1000", (206, 10, 100)),
        ("bytes=99-", (206, 99, 100)),
        ("bytes=-1", (206, 99, 100)),
        ("bytes=-1000", (206, 0, 100)),
        ("bytes=0-" + "9" * 5000, (206, 0, 100)),
        ("bytes=-" + "9" * 5000, (206, 0, 100)),
        # Units are case-insensitive; a list may have empty elements (5.6.1.2).
        ("Bytes=0-1", (206, 0, 2)),
        ("bytes= 0-1 ,", (206, 0, 2)),
        # 14.1.2: not satisfiable.
        ("bytes=100-", PAST_THE_END),
        ("bytes=100-200", PAST_THE_END),
        ("bytes=-0", PAST_THE_END),
        ("bytes=" + "9" * 5000 + "-", PAST_THE_END),
        ("bytes=100-,-0", PAST_THE_END),
        # 14.2: another unit, or a field that does not follow the syntax, is ignored.
        ("items=0-1", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=5-2", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=0-1;2-3", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=\u0661-2", WHOLE),
        ("bytes 0-1", WHOLE),
        ("0-1", WHOLE),
        ("", WHOLE),
        # Several ranges: the whole file; of those that lie in it, one alone is sent as one.
        ("bytes=0-1,4-5", WHOLE),
        ("bytes=0-1,900-", (206, 0, 2)),
        ("bytes=900-,0-1,5-2", WHOLE),
    ],
)
def test_ranges(value: str, expected: tuple[int, int, int]) -> None:
    assert answer(("Range", value)) == expected
    # A range is defined for GET only.
    assert answer(("Range", value), method="HEAD") == WHOLE


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-1", "bytes=5-"])
def test_no_range_selects_from_an_empty_file(value: str) -> None:
    assert answer(("Range", value), file=Validators("abc-0", 0, 0)) == (200, 0, 0)
