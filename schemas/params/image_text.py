"""Params of process-image-and-text."""

from __future__ import annotations

from pydantic import Field

from schemas.base import NOT_BLANK, Strict


class ImageTextParams(Strict):
    """The text that goes with the image."""

    text: str = Field(
        min_length=1,
        max_length=10_000,
        pattern=NOT_BLANK,
        description=(
            "Text to describe and to look for in the picture, 1 to 10,000 characters, not only "
            "spaces."
        ),
    )
