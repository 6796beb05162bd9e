"""Params of transform: steps that are done in their order, and the file that is made."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.base import NOT_BLANK, Array, Strict, given
from schemas.params.colour import Colour

# Sides beyond this are over every sensible pixel limit; the limit itself is a setting.
MAX_SIDE = 30_000
# Formats without a quality.
_LOSSLESS = ("png", "gif", "tiff", "bmp")

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Offset = Annotated[int, Field(ge=0, le=MAX_SIDE)]
Gravity = Literal[
    "center",
    "north",
    "north_east",
    "east",
    "south_east",
    "south",
    "south_west",
    "west",
    "north_west",
]


class Grayscale(Strict):
    """Remove the colours."""

    do: Literal["grayscale"] = Field(description="Name of the step.")


class Resize(Strict):
    """Change the size, with a Lanczos filter."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [given("width"), given("height")],
            "if": {"properties": {"mode": {"const": "fit"}}},
            "else": given("width", "height"),
        }
    )

    do: Literal["resize"] = Field(description="Name of the step.")
    width: Side | None = Field(None, description="Width in pixels.")
    height: Side | None = Field(None, description="Height in pixels.")
    mode: Literal["fit", "fill", "exact"] = Field(
        "fit",
        description=(
            "fit keeps the proportions and stays within width and height, of which one may be "
            "left out; fill keeps them, covers both and cuts off the rest; exact stretches."
        ),
    )
    gravity: Gravity = Field("center", description="With fill: the part that is kept.")
    enlarge: bool = Field(
        False, description="Let fit and fill make a small picture larger; exact always does."
    )

    @model_validator(mode="after")
    def _has_sides(self) -> Self:
        given = [side for side in (self.width, self.height) if side is not None]
        if not given:
            raise ValueError("resize needs width, height or both")
        if len(given) == 1 and self.mode != "fit":
            raise ValueError(f"mode {self.mode} needs width and height")
        return self


class Crop(Strict):
    """Cut out a rectangle; any part of it outside the picture is left out."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"if": given("x"), "then": given("y")},
                {"if": given("y"), "then": given("x")},
            ]
        }
    )

    do: Literal["crop"] = Field(description="Name of the step.")
    width: Side = Field(description="Width in pixels.")
    height: Side = Field(description="Height in pixels.")
    x: Offset | None = Field(None, description="Left edge in pixels; null places it by gravity.")
    y: Offset | None = Field(None, description="Top edge in pixels; null places it by gravity.")
    gravity: Gravity = Field("center", description="Place of the rectangle where x and y are null.")

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.x is None) != (self.y is None):
            raise ValueError("crop needs x and y, or neither")
        return self


class Rotate(Strict):
    """Turn clockwise; other angles than quarter turns make the picture larger."""

    do: Literal["rotate"] = Field(description="Name of the step.")
    degrees: float = Field(ge=-360, le=360, description="Angle in degrees, clockwise.")
    background: Colour | None = Field(
        None,
        description="Behind the turned picture: hex text or 3 or 4 numbers; null is transparent.",
    )


class Flip(Strict):
    """Mirror."""

    do: Literal["flip"] = Field(description="Name of the step.")
    axis: Literal["horizontal", "vertical", "both"] = Field(
        "horizontal", description="horizontal swaps left and right, vertical top and bottom."
    )


class Blur(Strict):
    """Blur with a Gaussian filter."""

    do: Literal["blur"] = Field(description="Name of the step.")
    sigma: float = Field(gt=0, le=100, description="Strength in pixels.")


class Sharpen(Strict):
    """Sharpen with an unsharp mask."""

    do: Literal["sharpen"] = Field(description="Name of the step.")
    sigma: float = Field(1.0, gt=0, le=20, description="Width of the edges meant, in pixels.")
    amount: int = Field(100, ge=1, le=500, description="Strength in percent.")
    threshold: int = Field(
        2,
        ge=0,
        le=255,
        description="Differences up to this, 0 to 255, stay as they are, so that noise does.",
    )


class Pad(Strict):
    """Add a border."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [side], "properties": {side: {"minimum": 1}}}
                for side in ("top", "right", "bottom", "left")
            ]
        }
    )

    do: Literal["pad"] = Field(description="Name of the step.")
    top: Offset = Field(0, description="Border on that side in pixels.")
    right: Offset = Field(0, description="Border on that side in pixels.")
    bottom: Offset = Field(0, description="Border on that side in pixels.")
    left: Offset = Field(0, description="Border on that side in pixels.")
    color: Colour | None = Field(
        None, description="Hex text or 3 or 4 numbers; null is transparent."
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.top or self.right or self.bottom or self.left):
            raise ValueError("pad needs top, right, bottom or left")
        return self


class Extend(Strict):
    """Add a border up to a size; after a fit the result has just that size."""

    do: Literal["extend"] = Field(description="Name of the step.")
    width: Side = Field(description="Width in pixels.")
    height: Side = Field(description="Height in pixels.")
    gravity: Gravity = Field("center", description="Place of the picture in the result.")
    color: Colour | None = Field(
        None, description="Hex text or 3 or 4 numbers; null is transparent."
    )


class Background(Strict):
    """Put a colour behind transparent parts."""

    do: Literal["background"] = Field(description="Name of the step.")
    color: Colour = Field(description="Hex text or 3 or 4 numbers.")


class Watermark(Strict):
    """Write a text on the picture; letters beyond ASCII need a font on the worker."""

    do: Literal["watermark"] = Field(description="Name of the step.")
    text: str = Field(
        min_length=1,
        max_length=200,
        pattern=rf"^[^\x00-\x1f]*{NOT_BLANK}[^\x00-\x1f]*$",
        description="One line of 1 to 200 characters.",
    )
    gravity: Gravity = Field("south_east", description="Place of the text in the picture.")
    size: int | None = Field(
        None,
        ge=4,
        le=2000,
        description="Height of the letters in pixels; null is a twentieth of the shorter side.",
    )
    color: Colour = Field((255, 255, 255, 255), description="Hex text or 3 or 4 numbers.")
    opacity: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Opacity of the letters, over 0 to 1; 1 hides the picture below.",
    )
    margin: Offset = Field(10, description="Distance from the edges in pixels.")
    tile: bool = Field(False, description="Repeat it over the whole picture.")


Step = Annotated[
    Grayscale
    | Resize
    | Crop
    | Rotate
    | Flip
    | Blur
    | Sharpen
    | Pad
    | Extend
    | Background
    | Watermark,
    Field(discriminator="do"),
]


class TransformParams(Strict):
    """The steps to do, in order, and the file that is made."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": given("quality"),
            "then": {"properties": {"format": {"not": {"enum": list(_LOSSLESS)}}}},
        }
    )

    steps: Array[Step] = Field(
        (), max_length=20, description="Steps in order, 20 at most; none converts the format only."
    )
    format: Literal["png", "webp", "jpeg", "avif", "gif", "tiff", "bmp"] | None = Field(
        None,
        description=(
            "File format; null keeps jpeg, png and webp, and takes png otherwise and where "
            "there is transparency. jpeg and bmp get white behind it."
        ),
    )
    quality: int | None = Field(
        None,
        ge=1,
        le=100,
        description=(
            "Quality of jpeg, webp and avif, 1 to 100. It has no effect on a result that becomes "
            "png because no format is asked for."
        ),
    )
    strip_metadata: bool = Field(False, description="Leave out EXIF and the colour profile.")

    @field_validator("quality")
    @classmethod
    def _lossy(cls, quality: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("format")
        if quality is not None and name in _LOSSLESS:
            raise ValueError(f"quality is of jpeg, webp and avif, not of {name}")
        return quality
