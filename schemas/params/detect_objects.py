"""Params of detect-objects."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.base import Array, Strict

ClassName = Annotated[str, Field(min_length=1, max_length=100)]


class DetectObjectsParams(Strict):
    """The detector, and the predictions to keep."""

    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Detector by its name in `models list`; null takes the default detector.",
    )
    confidence: float = Field(
        default=0.25,
        ge=0.01,
        le=1.0,
        description="Lowest confidence of a prediction that is kept, 0.01 to 1.",
    )
    iou: float = Field(
        default=0.45,
        ge=0.0,
        le=1.0,
        description=(
            "Two boxes of one class that overlap more than this (intersection over union) "
            "are one object; 1 keeps every box."
        ),
    )
    classes: Array[ClassName] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description=(
            "Only these classes, by the names the model uses, any case; null takes all. "
            "A name that the model does not know fails the item with params_invalid."
        ),
    )
    max_detections: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="At most this many predictions, the most confident ones, 1 to 1000.",
    )
    annotate: bool = Field(
        default=False,
        description="Also return the picture with the boxes and labels drawn on it.",
    )
