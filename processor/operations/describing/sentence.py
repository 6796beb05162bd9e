"""Write the `message` of process-image-and-text: the result in a sentence or two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# Most characters of a quoted text, and most names in a list.
_MAX_QUOTED = 60
_MAX_NAMED = 3


def message(text: str, lines: Sequence[str], found: Sequence[str], objects: Sequence[str]) -> str:
    """Say what was searched, read and detected.

    `found` are the pieces of the text that the picture shows (the whole text, or lines or words
    of it). `objects` has the class name of each detected object, None without a detector.
    """
    return f"{_text_part(text, lines, found)} {_object_part(objects)}"


def _text_part(text: str, lines: Sequence[str], found: Sequence[str]) -> str:
    wanted = _quoted(text)
    if not lines:
        return f"The picture shows no readable text, so {wanted} is not in it."
    read = f"The picture shows {_counted(len(lines), 'line', 'lines')} of text"
    if not found:
        return f"{read}, but {wanted} is not among them: it reads {_quoted(' '.join(lines))}."
    if len(found) == 1 and found[0] == text:
        return f"{read}, and {wanted} is in it."
    pieces = _listed([_quoted(piece) for piece in found])
    return f"{read}; of {wanted}, it has {pieces}."


def _object_part(objects: Sequence[str] | None) -> str:
    if objects is None:
        return "Objects were not looked for: no detector is installed."
    counts = Counter(objects)
    if not counts:
        return "No known objects were detected."
    named = [
        name if count == 1 else f"{name} ({count})"
        for name, count in counts.most_common(_MAX_NAMED)
    ]
    more = len(counts) - len(named)
    if more:
        named.append(f"{more} more {'kind' if more == 1 else 'kinds'}")
    return f"Detected: {_listed(named)}."


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    if len(shown) > _MAX_QUOTED:
        shown = shown[: _MAX_QUOTED - 3].rstrip() + "..."
    return f'"{shown}"'


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) > _MAX_NAMED + 1:
        parts = [*parts[:_MAX_NAMED], f"{len(parts) - _MAX_NAMED} more"]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
