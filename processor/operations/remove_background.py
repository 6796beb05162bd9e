"""remove-background: cut out the subject of a picture."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageChops

from imagemill.operations import EncodeOptions, OperationError, Output, RunContext
from processor.imaging.profiles import from_srgb
from processor.operations.background.mask import (
    U2NET_INPUT,
    smoothed,
    to_mask,
    to_tensor,
    visible_box,
)
from processor.operations.background.matting import Thresholds, decontaminated, matted
from schemas.errors import ErrorCode
from schemas.params.remove_background import RemoveBackgroundParams

TASK = "remove-background"
WHITE = (255, 255, 255, 255)


def run(image: Image.Image, params: RemoveBackgroundParams, context: RunContext) -> Output:
    """Cut the subject out of an upright picture, or return its mask.

    The picture keeps its size unless `crop` is given; then the data is {crop: {x, y, width,
    height}}: the box of all that is visible of the subject, in pixels of the upright picture. Where
    the subject is opaque the colours are the original's.

    Raises:
        OperationError: no such model or precision (params_invalid), the model is not there or
            not for this CPU (model_unavailable), or it failed or is no remover (model_failed).
    """
    mask = find_mask(image, params, context)
    if params.post_process_mask:
        mask = smoothed(mask)
    if params.only_mask:
        result, visible = mask, _within(image, mask)
    else:
        cutout = _cut_out(image, mask, params)
        result, visible = _finished(cutout, params, context), cutout.getchannel("A")
    box = visible_box(visible) if params.crop else None
    if box is not None:
        result = result.crop(box)
    encode = EncodeOptions(
        format=params.format,
        quality=params.quality,
        strip_metadata=params.only_mask,
        is_mask=params.only_mask,
    )
    return Output(image=result, data=_described(box, image) if params.crop else None, encode=encode)


def find_mask(
    image: Image.Image, params: RemoveBackgroundParams, context: RunContext
) -> Image.Image:
    """Return the model's mask at the picture's size, mode L.

    Raises:
        OperationError: as run().
    """
    name = params.model or context.models.default(TASK)
    session = context.models.session(name, precision=params.precision, task=TASK)
    context.used_models.append(session.used)
    output = session.run(to_tensor(image, session.recipe(U2NET_INPUT)))
    try:
        return to_mask(output, image.size)
    except ValueError as error:
        raise OperationError(ErrorCode.MODEL_FAILED, f"{name}: {error}") from error


def _cut_out(image: Image.Image, mask: Image.Image, params: RemoveBackgroundParams) -> Image.Image:
    if params.alpha_matting:
        thresholds = Thresholds(
            params.alpha_matting_foreground_threshold,
            params.alpha_matting_background_threshold,
            params.alpha_matting_erode_size,
        )
        cutout = matted(image, mask, thresholds)
    elif params.decontaminate:
        cutout = decontaminated(image, mask)
    else:
        cutout = image.convert("RGBA")
        cutout.putalpha(mask)
    cutout.putalpha(_within(image, cutout.getchannel("A")))
    return cutout


def _finished(
    cutout: Image.Image, params: RemoveBackgroundParams, context: RunContext
) -> Image.Image:
    """Return the cut-out on its background, and without colours that nobody sees."""
    if params.background_color is not None:
        cutout = _over(from_srgb(params.background_color, context.source.icc_profile), cutout)
    if params.format == "jpeg":
        return _over(WHITE, cutout).convert("RGB")
    if not params.keep_hidden_colors:
        hidden = cutout.getchannel("A").point(lambda value: 0 if value else 255)
        cutout.paste((0, 0, 0, 0), mask=hidden)
    return cutout


def _within(image: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return `alpha` times the picture's own: transparent parts of the picture stay so."""
    if not image.has_transparency_data:
        return alpha
    return ImageChops.multiply(alpha, image.convert("RGBA").getchannel("A"))


def _over(color: tuple[int, int, int, int], cutout: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", cutout.size, color), cutout)


def _described(box: tuple[int, int, int, int] | None, image: Image.Image) -> dict[str, Any]:
    left, top, right, bottom = box or (0, 0, *image.size)
    return {"crop": {"x": left, "y": top, "width": right - left, "height": bottom - top}}
