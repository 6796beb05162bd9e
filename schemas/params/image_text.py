"""Params of process-image-and-text."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ImageTextParams(BaseModel):
    """The text that goes with the image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field(
        min_length=1,
        max_length=10_000,
        pattern=r"\S",
        description=(
            "Text to describe and to look for in the picture, 1 to 10,000 characters, not only "
            "spaces."
        ),
    )
