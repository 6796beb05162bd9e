"""The Accept header (RFC 9110, 12.5.1), as far as one decides between a picture and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WEIGHT = re.compile(r"[qQ]\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
_BYTES = "application/octet-stream"


def prefers_picture(accept: str) -> bool:
    """Return True if the header asks for the bytes of a picture rather than for a document.

    `image/*`, any image type and `application/octet-stream` ask for bytes. Every other type,
    `*/*` included, is answered with a document, so that clients that send no preference, and
    browsers that open a page, get what they always got.
    """
    picture = document = 0.0
    for kind, weight in _ranges(accept):
        if kind.startswith("image/") or kind == _BYTES:
            picture = max(picture, weight)
        elif kind == "text/html":
            return False
        else:
            document = max(document, weight)
    return picture > 0 and picture >= document


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    """Yield the media types with their weights; one that cannot be read has the weight 1."""
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if not kind:
            continue
        found = (_WEIGHT.fullmatch(parameter) for parameter in parameters)
        weights = [float(match[1]) for match in found if match]
        yield kind.lower(), weights[0] if weights else 1.0
