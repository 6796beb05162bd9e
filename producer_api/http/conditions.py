"""Conditional and range requests as RFC 9110 orders them (13.2.2, 14): pure, without a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus

from aiohttp import hdrs
from multidict import CIMultiDictProxy

_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGE = re.compile(r"(\d*)-(\d*)", re.ASCII)
# Digits of an offset. More of them are past the end of every file.
_MAX_DIGITS = 18


@dataclass(frozen=True)
class Validators:
    """The state of a file: its entity tag, the second of its last change, and its size in bytes."""

    etag: str
    modified_s: int
    size: int

    def headers(self) -> dict[str, str]:
        """Return the headers that a client sends back in conditional requests."""
        modified = datetime.fromtimestamp(self.modified_s, UTC)
        return {
            hdrs.ETAG: f'"{self.etag}"',
            hdrs.LAST_MODIFIED: format_datetime(modified, usegmt=True),
            hdrs.ACCEPT_RANGES: "bytes",
        }


@dataclass(frozen=True)
class Selection:
    """The answer to a request for a file: its status, and the bytes from `first` up to `stop`."""

    status: HTTPStatus
    first: int = 0
    stop: int = 0

    @property
    def count(self) -> int:
        """Bytes of the answer's content."""
        return self.stop - self.first


def select(method: str, headers: CIMultiDictProxy[str], file: Validators) -> Selection:
    """Judge the preconditions of a GET or HEAD request, then its range.

    The status is 200, 206, 304, 412 or 416. Two or more ranges that can be satisfied are answered
    with the whole file, which RFC 9110 allows: a client that asks for several takes either.
    """
    if hdrs.IF_MATCH in headers:
        if not _matches(headers, hdrs.IF_MATCH, file, weak=False):
            return Selection(HTTPStatus.PRECONDITION_FAILED)
    elif (date := _date(headers, hdrs.IF_UNMODIFIED_SINCE)) is not None and file.modified_s > date:
        return Selection(HTTPStatus.PRECONDITION_FAILED)
    if hdrs.IF_NONE_MATCH in headers:
        if _matches(headers, hdrs.IF_NONE_MATCH, file, weak=True):
            return Selection(HTTPStatus.NOT_MODIFIED)
    elif (date := _date(headers, hdrs.IF_MODIFIED_SINCE)) is not None and file.modified_s <= date:
        return Selection(HTTPStatus.NOT_MODIFIED)
    whole = Selection(HTTPStatus.OK, 0, file.size)
    # RFC 9110, 14.2: a range is defined for GET only.
    if method != hdrs.METH_GET or not _if_range(headers, file):
        return whole
    return _ranged(headers.get(hdrs.RANGE, ""), file.size) or whole


def _matches(headers: CIMultiDictProxy[str], name: str, file: Validators, *, weak: bool) -> bool:
    text = ",".join(headers.getall(name))
    if text.strip() == "*":
        return True
    tags = _ETAG.findall(text)
    return any(tag == file.etag and (weak or not prefix) for prefix, tag in tags)


def _date(headers: Mapping[str, str], name: str) -> float | None:
    """Return the time of a field; None without it, and for a date that is invalid."""
    text = headers.get(name)
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _if_range(headers: Mapping[str, str], file: Validators) -> bool:
    """Return whether the range applies: no If-Range, or one that names this state of the file."""
    text = headers.get(hdrs.IF_RANGE)
    if text is None:
        return True
    # RFC 9110, 13.1.5: a weak tag never matches, and a date matches only exactly.
    if tag := _ETAG.fullmatch(text.strip()):
        return tag[1] is None and tag[2] == file.etag
    return _date(headers, hdrs.IF_RANGE) == file.modified_s


def _ranged(text: str, size: int) -> Selection | None:
    """Return the answer to a Range field; None when it is to be ignored.

    Ignored are other units than bytes, fields that do not follow the syntax, and several ranges.
    """
    unit, equals, listed = text.partition("=")
    parts = [part.strip() for part in listed.split(",") if part.strip()]
    if unit.strip().lower() != "bytes" or not equals or not parts or not size:
        return None
    found = []
    for part in parts:
        bounds = _RANGE.fullmatch(part)
        if bounds is None or part == "-":
            return None
        first, last = (_offset(digits) for digits in bounds.groups())
        if first is not None and last is not None and first > last:
            return None
        if first is None:
            found.append((max(0, size - (last or 0)), size))
        else:
            found.append((first, size if last is None else min(last + 1, size)))
    satisfiable = [(first, stop) for first, stop in found if first < size]
    if not satisfiable:
        return Selection(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    if len(satisfiable) > 1:
        return None
    return Selection(HTTPStatus.PARTIAL_CONTENT, *satisfiable[0])


def _offset(digits: str) -> int | None:
    if not digits:
        return None
    return int(digits) if len(digits.lstrip("0")) <= _MAX_DIGITS else 10**_MAX_DIGITS
