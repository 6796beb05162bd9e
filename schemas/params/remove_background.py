"""Params of remove-background, under the names that rembg gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from schemas.base import Strict, given
from schemas.params.colour import Colour


class RemoveBackgroundParams(Strict):
    """The model and its options, the edge of the subject, and the file that is made."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": given("quality"),
            "then": {"required": ["format"], "properties": {"format": {"not": {"const": "png"}}}},
        }
    )

    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Remover by its name in `models list`; null takes the default, u2netp.",
    )
    precision: Literal["exact", "balanced", "fast"] | None = Field(
        default=None,
        description=(
            "exact computes in float32; balanced and fast trade some of the mask's edge for speed "
            "on CPUs with bfloat16, and fail with model_unavailable on others. null takes the "
            "worker's setting."
        ),
    )
    only_mask: bool = Field(
        default=False,
        description="Give the mask as a grey picture, white where the subject is.",
    )
    post_process_mask: bool = Field(
        default=False,
        description="Smooth the mask's outline and make it black and white.",
    )
    alpha_matting: bool = Field(
        default=False,
        description=(
            "Work out the edge, such as hair, from the picture itself. Takes up to a minute and "
            "refuses an edge of more than 750,000 pixels or a picture of more than 24 million."
        ),
    )
    alpha_matting_foreground_threshold: int = Field(
        default=240,
        ge=0,
        le=255,
        description="Mask values above this are surely subject, 0 to 255.",
    )
    alpha_matting_background_threshold: int = Field(
        default=10,
        ge=0,
        le=255,
        # Also when only the other one is given.
        validate_default=True,
        description=(
            "Mask values below this are surely not subject, 0 to 255; must be below "
            "alpha_matting_foreground_threshold."
        ),
    )
    alpha_matting_erode_size: int = Field(
        default=10,
        ge=0,
        le=100,
        description="Distance of the sure parts from the edge to be worked out, 0 to 100 pixels.",
    )
    decontaminate: bool = Field(
        default=False,
        description=(
            "Take the old background's colour out of half-transparent pixels, in pictures of up to "
            "24 million pixels."
        ),
    )
    background_color: Colour | None = Field(
        default=None,
        description="Colour behind the subject: hex text, or [r, g, b] or [r, g, b, a], 0 to 255.",
    )
    crop: bool = Field(default=False, description="Cut the picture to the subject's bounding box.")
    keep_hidden_colors: bool = Field(
        default=False,
        description=(
            "Keep the original colours where nothing is visible, as rembg's putalpha does; "
            "without them the file is smaller."
        ),
    )
    format: Literal["png", "webp", "jpeg"] = Field(
        default="png",
        description="File format; jpeg has no transparency and gets white behind the subject.",
    )
    quality: int | None = Field(
        default=None, ge=1, le=100, description="Quality of webp and jpeg, 1 to 100."
    )

    @field_validator("alpha_matting_background_threshold")
    @classmethod
    def _below_foreground(cls, low: int, info: ValidationInfo) -> int:
        high = info.data.get("alpha_matting_foreground_threshold")
        if high is not None and low >= high:
            raise ValueError(f"{low} must be below alpha_matting_foreground_threshold {high}")
        return low

    @field_validator("quality")
    @classmethod
    def _lossy(cls, quality: int | None, info: ValidationInfo) -> int | None:
        if quality is not None and info.data.get("format") == "png":
            raise ValueError("quality is of webp and jpeg; png is always lossless")
        return quality
