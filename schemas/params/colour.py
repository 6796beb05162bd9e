"""A colour in params: hex text, or three or four numbers; in code always (r, g, b, a)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

Channel = Annotated[int, Field(ge=0, le=255, strict=True)]

_HEX = re.compile(r"#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


def _rgba(value: Any) -> Any:
    """Four numbers of a colour given as hex text or as three or four numbers."""
    if isinstance(value, str):
        match = _HEX.fullmatch(value.strip())
        if match is None:
            raise ValueError("a colour is #rgb, #rgba, #rrggbb or #rrggbbaa, or 3 or 4 numbers")
        digits = match[1]
        if len(digits) < 6:
            digits = "".join(digit * 2 for digit in digits)
        value = list(bytes.fromhex(digits))
    if isinstance(value, list | tuple) and len(value) == 3:
        return (*value, 255)
    return value


Colour = Annotated[
    tuple[Channel, Channel, Channel, Channel],
    BeforeValidator(_rgba),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "string",
                    "pattern": "^#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})$",
                },
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
