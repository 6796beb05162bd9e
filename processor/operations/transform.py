"""transform: apply the steps of the params to a picture, in their order."""

from __future__ import annotations

from PIL import Image

from imagemill.operations import EncodeOptions, OperationError, Output, RunContext
from processor.imaging.profiles import from_srgb
from processor.operations.transforming.geometry import Size, plan_resize
from processor.operations.transforming.steps import Frame, apply
from schemas.errors import JobError
from schemas.params.transform import Grayscale, Resize, Step, TransformParams

# Least size of a reduced JPEG decode, in multiples of the size it is resized to: below 2 the result
# looks different from that of the whole picture.
_MIN_DRAFT_SCALE = 2


def run(image: Image.Image, params: TransformParams, context: RunContext) -> Output:
    """Return the picture after all steps.

    Raises:
        OperationError: a step does not fit the picture, or its result would be over the pixel
            limit; the message begins with the step's number from 0.
    """
    shrunk, profile = context.source.shrunk, context.source.icc_profile
    frame = Frame(image, context.source.size if shrunk > 1 else image.size, shrunk)
    for number, step in enumerate(params.steps):
        try:
            frame = apply(_in_profile(step, profile), frame, context.max_pixels)
        except OperationError as error:
            error.error = JobError.of(
                error.error.code, f"steps.{number}.{step.do}: {error.error.message}"
            )
            raise
    options = EncodeOptions(
        format=params.format, quality=params.quality, strip_metadata=params.strip_metadata
    )
    return Output(image=frame.image, encode=options)


def _in_profile(step: Step, profile: bytes | None) -> Step:
    """Return the step with its colours, which are sRGB's, in the numbers of the picture."""
    if profile is None:
        return step
    given = {name: getattr(step, name, None) for name in ("color", "background")}
    update = {name: from_srgb(tuple(colour), profile) for name, colour in given.items() if colour}
    return step.model_copy(update=update) if update else step


def wanted_size(params: TransformParams, size: Size) -> Size | None:
    """Return the least size to decode a JPEG of that upright size at, or None for its own.

    A reduced decode needs a resize before every step that counts in pixels.
    """
    for step in params.steps:
        if isinstance(step, Resize):
            plan = plan_resize(step, size)
            left, top, right, bottom = plan.box
            wanted = (
                round(plan.size[0] / (right - left)) * _MIN_DRAFT_SCALE,
                round(plan.size[1] / (bottom - top)) * _MIN_DRAFT_SCALE,
            )
            small = wanted[0] * 2 <= size[0] and wanted[1] * 2 <= size[1]
            return wanted if small else None
        if not isinstance(step, Grayscale):
            return None
    return None
