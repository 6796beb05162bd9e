"""Find a text in recognised lines, allowing for misread characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_MATCHES = 100


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` (not included) of line number `line`."""

    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Match:
    """One place: its spans, one per line, and its similarity, 0 to 1."""

    spans: tuple[Span, ...]
    similarity: float


def find_text(wanted: str, lines: Sequence[str], least: float) -> list[Match]:
    """Return the places of `wanted` in reading order; a place may continue on the next line.

    Case, white space and character width do not matter. Similarity is 1 - edits / length, over
    the characters that are compared; places under `least` are left out, and of overlapping
    places the most similar one stays. At most MAX_MATCHES are given.
    """
    pattern = [character for character, _ in _folded(wanted)]
    text: list[str] = []
    origin: list[tuple[int, int]] = []
    for number, line in enumerate(lines):
        for character, index in _folded(line):
            text.append(character)
            origin.append((number, index))
    if not pattern or not text:
        return []
    edits, starts = _align(_codes(pattern), _codes(text))
    similarity = 1.0 - edits / len(pattern)
    chosen = _apart(similarity, starts, least)
    return [
        Match(_spans(origin[start:end]), round(float(similarity[end]), 4)) for start, end in chosen
    ]


def _folded(text: str) -> list[tuple[str, int]]:
    """Return the characters to compare, each with the index of its original."""
    return [
        (folded, index)
        for index, character in enumerate(text)
        for folded in unicodedata.normalize("NFKC", character).casefold()
        if not folded.isspace()
    ]


def _codes(characters: list[str]) -> NDArray[np.int64]:
    return np.array([ord(character) for character in characters], dtype=np.int64)


def _align(
    pattern: NDArray[np.int64], text: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each end in the text, the fewest edits to a part ending there, and its start.

    Sellers' algorithm, one row of the table at a time. A cell holds edits * base + start, so that
    one minimum finds the fewest edits and among those the longest part, which includes misread
    characters at its ends.
    """
    base = len(text) + 1
    column = np.arange(base, dtype=np.int64)
    row = column.copy()
    for character in pattern:
        above = row + base
        diagonal = row[:-1] + base * (text != character)
        row = above
        row[1:] = np.minimum(above[1:], diagonal)
        # Skipping a text character costs one edit: a running minimum of cells moved to column 0.
        row = np.minimum.accumulate(row - column * base) + column * base
    return row // base, row % base


def _apart(
    similarity: NDArray[np.float64], starts: NDArray[np.int64], least: float
) -> list[tuple[int, int]]:
    """Return (start, end) of the most similar places without overlap, in text order.

    Of equally similar places the longest is taken, for the reason given in _align.
    """
    ends = np.flatnonzero(similarity >= least)
    ends = ends[np.lexsort((starts[ends] - ends, -similarity[ends]))]
    taken = np.zeros(len(similarity), dtype=bool)
    chosen: list[tuple[int, int]] = []
    for end in ends.tolist():
        start = int(starts[end])
        if start < end and not taken[start:end].any():
            taken[start:end] = True
            chosen.append((start, end))
            if len(chosen) == MAX_MATCHES:
                break
    return sorted(chosen)


def _spans(origin: Sequence[tuple[int, int]]) -> tuple[Span, ...]:
    spans: dict[int, Span] = {}
    for line, index in origin:
        first = spans[line].start if line in spans else index
        spans[line] = Span(line, first, index + 1)
    return tuple(spans.values())
