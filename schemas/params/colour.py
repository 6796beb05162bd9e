"""A colour in params: hex text, or three or four numbers; in code always (r, g, b, a)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from schemas.base import integral

_HEX = r"^#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})$"
_HEX_COLOUR = re.compile(_HEX)
Channel = Annotated[int, Field(ge=0, le=255)]


def _rgba(value: Any) -> Any:
    """Return the four numbers of a colour given as hex text or as three or four numbers."""
    if isinstance(value, str) and (match := _HEX_COLOUR.fullmatch(value)):
        digits = match[1]
        if len(digits) < 6:
            digits = "".join(digit * 2 for digit in digits)
        value = bytes.fromhex(digits)
    elif not isinstance(value, list | tuple) or len(value) not in (3, 4):
        raise ValueError("a colour is #rgb, #rgba, #rrggbb or #rrggbbaa, or 3 or 4 numbers")
    channels = tuple(map(integral, value))
    return channels if len(channels) == 4 else (*channels, 255)


Colour = Annotated[
    tuple[Channel, Channel, Channel, Channel],
    BeforeValidator(_rgba),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _HEX},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": 255},
                    "minItems": 3,
                    "maxItems": 4,
                },
            ]
        }
    ),
]
