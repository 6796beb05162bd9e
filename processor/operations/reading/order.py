"""Put recognised lines into reading order: rows from the top, and columns one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

Quad = tuple[tuple[float, float], ...]
"""Four corners (x, y), from the top left of the text clockwise."""

# Shares of the width of all lines, and of the height of the shorter column.
_FULL_WIDTH = 0.6
_LEAST_OVERLAP = 0.5
# In heights of a line: the least gap between columns, and the least width of a column of prose.
_LEAST_GAP = 1.0
_LEAST_PROSE_WIDTH = 6.0
_LEAST_COLUMN_LINES = 2


@dataclass(frozen=True)
class _Line:
    """A line's extent on a page whose rows are level, and its text."""

    index: int
    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def reading_order(quads: Sequence[Quad], texts: Sequence[str]) -> list[int]:
    """Return the indices of the lines of an upright page in the order in which they are read.

    Lines side by side are one row, read from the left. Two blocks of prose side by side are
    columns: the left one is read first. Prose is two or more lines, mostly letters, and no list of
    labels with a colon, so that the rows of forms, receipts and tables of numbers stay together.
    """
    return [line.index for line in _ordered(_level(quads, texts))]


def _level(quads: Sequence[Quad], texts: Sequence[str]) -> list[_Line]:
    """Return the lines' extents after the slant of most lines is taken out."""
    slants = [math.atan2(q[1][1] - q[0][1], q[1][0] - q[0][0]) for q in quads]
    slant = median(slants) if slants else 0.0
    cosine, sine = math.cos(slant), math.sin(slant)
    lines = []
    for index, (quad, text) in enumerate(zip(quads, texts, strict=True)):
        across = [x * cosine + y * sine for x, y in quad]
        down = [y * cosine - x * sine for x, y in quad]
        lines.append(_Line(index, text, min(across), min(down), max(across), max(down)))
    return lines


def _ordered(lines: list[_Line]) -> list[_Line]:
    if columns := _columns(lines):
        return [line for column in columns for line in _ordered(column)]
    if bands := _bands(lines):
        return [line for band in bands for line in _ordered(band)]
    return [line for row in _rows(lines) for line in row]


def _bands(lines: list[_Line]) -> list[list[_Line]] | None:
    """Split the page at its full-width lines, if that makes columns of the lines between them."""
    if not lines:
        return None
    width = max(line.right for line in lines) - min(line.left for line in lines)
    bands: list[list[_Line]] = [[]]
    for line in sorted(lines, key=lambda one: one.middle):
        if line.width >= _FULL_WIDTH * width:
            bands += [[line], []]
        else:
            bands[-1].append(line)
    return [band for band in bands if band] if any(map(_columns, bands)) else None


def _columns(lines: list[_Line]) -> tuple[list[_Line], list[_Line]] | None:
    """Split the lines at the widest gap that runs down between two blocks of prose."""
    if len(lines) < 2 * _LEAST_COLUMN_LINES:
        return None
    height = median(line.height for line in lines)
    for gap in _gaps(lines, _LEAST_GAP * height):
        left = [line for line in lines if line.right <= gap]
        right = [line for line in lines if line.right > gap]
        if _is_prose(left, height) and _is_prose(right, height) and _side_by_side(left, right):
            return left, right
    return None


def _gaps(lines: Iterable[_Line], least: float) -> list[float]:
    """Return the left edges of the gaps that no line crosses, the widest gap first."""
    gaps = []
    reached = math.inf
    for line in sorted(lines, key=lambda one: one.left):
        if line.left - reached >= least:
            gaps.append((line.left - reached, reached))
        reached = line.right if reached is math.inf else max(reached, line.right)
    return [edge for _, edge in sorted(gaps, reverse=True)]


def _is_prose(lines: list[_Line], height: float) -> bool:
    if len(_rows(lines)) < _LEAST_COLUMN_LINES:
        return False
    characters = [c for line in lines for c in line.text if not c.isspace()]
    letters = sum(c.isalpha() for c in characters)
    labels = sum(line.text.rstrip().endswith(":") for line in lines)
    return (
        max(line.width for line in lines) >= _LEAST_PROSE_WIDTH * height
        and letters * 2 > len(characters)
        and labels * 2 < len(lines)
    )


def _side_by_side(left: list[_Line], right: list[_Line]) -> bool:
    tops = [min(line.top for line in side) for side in (left, right)]
    bottoms = [max(line.bottom for line in side) for side in (left, right)]
    shorter = min(bottom - top for top, bottom in zip(tops, bottoms, strict=True))
    return min(bottoms) - max(tops) >= _LEAST_OVERLAP * shorter


def _rows(lines: Iterable[_Line]) -> list[list[_Line]]:
    """Return the rows from the top, the lines of each from the left."""
    rows: list[list[_Line]] = []
    for line in sorted(lines, key=lambda one: one.middle):
        row = rows[-1] if rows else []
        reach = min(one.height for one in [*row, line]) / 2
        if row and abs(line.middle - fmean(one.middle for one in row)) < reach:
            row.append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda one: one.left) for row in rows]
