"""transform: does the steps of its params to a picture, in their order."""

from __future__ import annotations

from PIL import Image

from imagemill.operations import EncodeOptions, OperationError, Output, RunContext
from processor.operations.transforming.geometry import Size, plan_resize
from processor.operations.transforming.steps import Frame, apply
from schemas.errors import JobError
from schemas.params.transform import Grayscale, Resize, TransformParams

# A JPEG is decoded at no less than this many times the size it is resized to, so that the result
# looks the same as from the whole picture.
_DRAFT_GAP = 2


def run(image: Image.Image, params: TransformParams, context: RunContext) -> Output:
    """The picture after all steps.

    Raises:
        OperationError: a step does not fit the picture, or its result would be over the pixel
            limit; the message begins with the step's number from 0.
    """
    shrunk = context.source.shrunk
    frame = Frame(image, context.source.size if shrunk > 1 else image.size, shrunk)
    for number, step in enumerate(params.steps):
        try:
            frame = apply(step, frame, context.max_pixels)
        except OperationError as error:
            error.error = JobError.of(
                error.error.code, f"steps.{number}.{step.do}: {error.error.message}"
            )
            raise
    options = EncodeOptions(
        format=params.format, quality=params.quality, strip_metadata=params.strip_metadata
    )
    return Output(image=frame.image, encode=options)


def wanted_size(params: TransformParams, size: Size) -> Size | None:
    """How far a JPEG of that upright size may be shrunk while it is decoded, or None.

    Only when a resize comes before every step that counts in pixels.
    """
    for step in params.steps:
        if isinstance(step, Resize):
            plan = plan_resize(step, size)
            left, top, right, bottom = plan.box
            wanted = (
                round(plan.size[0] / (right - left)) * _DRAFT_GAP,
                round(plan.size[1] / (bottom - top)) * _DRAFT_GAP,
            )
            small = wanted[0] * 2 <= size[0] and wanted[1] * 2 <= size[1]
            return wanted if small else None
        if not isinstance(step, Grayscale):
            return None
    return None
