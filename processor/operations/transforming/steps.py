"""Apply one step of transform to a picture in mode L, LA, RGB or RGBA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageFilter

from imagemill.operations import OperationError
from processor.operations.transforming import geometry
from processor.operations.transforming.colours import TRANSPARENT, has_alpha, holding, in_mode
from processor.operations.transforming.geometry import Size
from processor.operations.transforming.watermark import watermark
from schemas.errors import ErrorCode
from schemas.params import transform as params
from schemas.params.colour import Colour

_QUARTER_TURNS = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
# Modes with colours multiplied by alpha, so that filters do not spread invisible colours.
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}


@dataclass(frozen=True)
class Frame:
    """A picture between steps, and the size it stands for: `part` times its own."""

    image: Image.Image
    size: Size
    part: int = 1


def apply(step: params.Step, frame: Frame, max_pixels: int) -> Frame:
    """Return the picture after the step.

    Raises:
        OperationError: the result would be over `max_pixels` (image_too_large), or the step does
            not fit the picture (params_invalid).
    """
    if isinstance(step, params.Grayscale):
        return replace(frame, image=_grayscale(frame.image))
    if isinstance(step, params.Resize):
        image = _resize(step, frame, max_pixels)
    else:
        image = _STEPS[type(step)](step, frame.image, max_pixels)
    return Frame(image, image.size)


def _grayscale(image: Image.Image) -> Image.Image:
    return image.convert("LA" if has_alpha(image) else "L")


def _resize(step: params.Resize, frame: Frame, max_pixels: int) -> Image.Image:
    plan = geometry.plan_resize(step, frame.size)
    geometry.check_size(plan.size, max_pixels)
    image = frame.image
    if plan.size == image.size and plan.box == geometry.WHOLE:
        return image
    # The last column and row of a reduced decode stand for less than a whole pixel.
    width, height = frame.size[0] / frame.part, frame.size[1] / frame.part
    left, top, right, bottom = plan.box
    box = (left * width, top * height, right * width, bottom * height)
    # With a gap of 3 the error of the fast first reduction is not visible after Lanczos.
    return image.resize(plan.size, Image.Resampling.LANCZOS, box, reducing_gap=3.0)


def _crop(step: params.Crop, image: Image.Image, max_pixels: int) -> Image.Image:
    box = geometry.crop_box(step, image.size)
    if box is None:
        raise OperationError(
            ErrorCode.PARAMS_INVALID,
            f"The crop lies outside the picture, which is {image.size[0]} x {image.size[1]} pixels "
            "at this step.",
        )
    return image.crop(box)


def _rotate(step: params.Rotate, image: Image.Image, max_pixels: int) -> Image.Image:
    degrees = step.degrees % 360
    if degrees == 0:
        return image
    if degrees in _QUARTER_TURNS:
        return image.transpose(_QUARTER_TURNS[int(degrees)])
    geometry.check_size(geometry.rotated_size(image.size, degrees), max_pixels)
    # Rotated as a transparent picture, so that the edges are smooth on any background.
    turned = holding(image, TRANSPARENT).rotate(-degrees, Image.Resampling.BICUBIC, expand=True)
    return turned if step.background is None else _flattened(turned, step.background)


def _flip(step: params.Flip, image: Image.Image, max_pixels: int) -> Image.Image:
    if step.axis != "vertical":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if step.axis != "horizontal":
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


def _blur(step: params.Blur, image: Image.Image, max_pixels: int) -> Image.Image:
    return _filtered(image, ImageFilter.GaussianBlur(step.sigma))


def _sharpen(step: params.Sharpen, image: Image.Image, max_pixels: int) -> Image.Image:
    return _filtered(image, ImageFilter.UnsharpMask(step.sigma, step.amount, step.threshold))


def _filtered(image: Image.Image, kernel: Any) -> Image.Image:
    mode = _PREMULTIPLIED.get(image.mode)
    return image.convert(mode).filter(kernel).convert(image.mode) if mode else image.filter(kernel)


def _pad(step: params.Pad, image: Image.Image, max_pixels: int) -> Image.Image:
    width, height = image.size
    size = (width + step.left + step.right, height + step.top + step.bottom)
    return _on_canvas(image, size, (step.left, step.top), step.color, max_pixels)


def _extend(step: params.Extend, image: Image.Image, max_pixels: int) -> Image.Image:
    size = (max(step.width, image.width), max(step.height, image.height))
    corner = geometry.place(image.size, size, step.gravity)
    return _on_canvas(image, size, corner, step.color, max_pixels)


def _on_canvas(
    image: Image.Image, size: Size, corner: Size, colour: Colour | None, max_pixels: int
) -> Image.Image:
    geometry.check_size(size, max_pixels)
    fill = colour or TRANSPARENT
    image = holding(image, fill)
    canvas = Image.new(image.mode, size, in_mode(fill, image.mode))
    canvas.paste(image, corner)
    return canvas


def _background(step: params.Background, image: Image.Image, max_pixels: int) -> Image.Image:
    return _flattened(image, step.color) if has_alpha(image) else image


def _flattened(image: Image.Image, colour: Colour) -> Image.Image:
    """Return a picture with alpha on that colour; the result has alpha only if the colour has."""
    if colour[3] < 255:
        canvas = Image.new("RGBA", image.size, colour)
        return Image.alpha_composite(canvas, image.convert("RGBA"))
    top = holding(image, colour)
    mode = top.mode.removesuffix("A")
    canvas = Image.new(mode, top.size, in_mode(colour, mode))
    canvas.paste(top.convert(mode), mask=top.getchannel("A"))
    return canvas


def _watermark(step: params.Watermark, image: Image.Image, max_pixels: int) -> Image.Image:
    return watermark(step, image, max_pixels)


_STEPS: dict[type, Callable[[Any, Image.Image, int], Image.Image]] = {
    params.Crop: _crop,
    params.Rotate: _rotate,
    params.Flip: _flip,
    params.Blur: _blur,
    params.Sharpen: _sharpen,
    params.Pad: _pad,
    params.Extend: _extend,
    params.Background: _background,
    params.Watermark: _watermark,
}
