"""Join a file that a package holds in pieces, as its resources.json lists them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


class ChunksError(ValueError):
    """The list does not name the file's pieces, or a piece is missing or has another sha256."""


def join(listing: bytes, resource: str, beside: Mapping[str, bytes]) -> bytes:
    """Return the file `resource` of the list; `beside` has the pieces by their sha256 in hex.

    Raises:
        ChunksError: a piece is missing or damaged; the message names it.
    """
    try:
        facts = json.loads(listing)[resource]
        hashes = [chunk["hash"] for chunk in facts["chunks"]]
        size = facts["size"]
    except (ValueError, LookupError, TypeError) as error:
        raise ChunksError(f"the list does not name the pieces of {resource}: {error!r}") from error
    pieces = []
    for digest in hashes:
        piece = beside.get(digest, b"")
        if hashlib.sha256(piece).hexdigest() != digest:
            raise ChunksError(f"the piece {digest} of {resource} is missing or damaged")
        pieces.append(piece)
    data = b"".join(pieces)
    if len(data) != size:
        raise ChunksError(f"{resource} has {len(data)} bytes, not {size}")
    return data
