"""Apply ICC profiles: pictures and their profile in, the same colours in sRGB out."""

from __future__ import annotations

import io
import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

_CMS_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
# Colour spaces, as profiles name them, of the pictures that operations get.
RGB, GREY, INKS = "RGB", "GRAY", "CMYK"
_GREYS = bytes(range(256))
# Levels by which a conversion from sRGB to sRGB may differ.
_ROUNDING = 2

Rgba = tuple[int, int, int, int]


def space_of(profile: bytes | None) -> str | None:
    """Return the colour space that a profile describes; None for no profile and a damaged one."""
    if not profile:
        return None
    try:
        return _opened(profile).profile.xcolor_space.strip()
    except _CMS_ERRORS as error:
        log.info("the colour profile of an image is damaged and not used: %s", error)
        return None


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture in mode L, LA, RGB or RGBA with its numbers converted to sRGB.

    A profile of greys describes a picture in colours that was made of greys, and the other way
    round, by its tones alone. Without a profile, or with a damaged one, the numbers are sRGB's.
    """
    space = space_of(profile)
    if profile is None or space not in (RGB, GREY):
        return image
    try:
        if space == RGB and image.mode in ("RGB", "RGBA"):
            if _is_srgb(profile):
                return image
            return _transformed(image, profile, image.mode)
        return _with_tones(image, profile, "RGB" if space == RGB else "L")
    except _CMS_ERRORS as error:
        log.info("the colour profile of an image is not used: %s", error)
        return image


@lru_cache(maxsize=16)
def _is_srgb(profile: bytes) -> bool:
    """Return True if the profile changes no colour by more than rounding: most photos have one."""
    levels = np.linspace(0, 255, 9, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    found = np.asarray(_transformed(Image.fromarray(colours), profile, "RGB"), dtype=int)
    return bool(np.abs(found - colours).max() <= _ROUNDING)


@lru_cache(maxsize=16)
def from_srgb(colour: Rgba, profile: bytes | None) -> Rgba:
    """Return an sRGB colour in the numbers that look the same under the profile.

    A grey stays one, so that a grey picture needs no colours for it.
    """
    space = space_of(profile)
    if profile is None or space not in (RGB, GREY):
        return colour
    *levels, alpha = colour
    try:
        if space == RGB:
            found = _numbers_of(Image.new("RGB", (1, 1), tuple(levels)), profile)
        else:
            tones = _tones(profile, "L")
            found = [min(range(256), key=lambda n: abs(tones[n] - level)) for level in levels]
    except _CMS_ERRORS as error:
        log.info("the colour profile of an image is not used: %s", error)
        return colour
    red, green, blue = [found[1]] * 3 if len(set(levels)) == 1 else found
    return red, green, blue, alpha


def _numbers_of(pixel: Image.Image, profile: bytes) -> list[int]:
    screen = ImageCms.createProfile("sRGB")
    return list(
        ImageCms.profileToProfile(pixel, screen, _opened(profile), outputMode="RGB").tobytes()
    )


def printed_in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a CMYK picture in RGB, by the profile of its inks if it has one."""
    if profile is not None and space_of(profile) == INKS:
        try:
            return _transformed(image, profile, "RGB")
        except _CMS_ERRORS as error:
            log.info("the colour profile of an image is not used: %s", error)
    return image.convert("RGB")


def lab_in_srgb(image: Image.Image) -> Image.Image:
    """Return a CIELAB picture in RGB."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return _transformed(image, lab.tobytes(), "RGB")


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def _transformed(image: Image.Image, profile: bytes, mode: str) -> Image.Image:
    screen = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, _opened(profile), screen, outputMode=mode)
    if converted is None:
        raise ValueError("the transform gave no picture")
    return converted


def _tones(profile: bytes, mode: str) -> list[int]:
    """Return the sRGB level of each of the profile's 256 greys."""
    greys = Image.frombytes("L", (len(_GREYS), 1), _GREYS).convert(mode)
    return list(_transformed(greys, profile, "RGB").getchannel("G").tobytes())


def _with_tones(image: Image.Image, profile: bytes, mode: str) -> Image.Image:
    """Change every band but alpha as the profile's greys change when they become sRGB's."""
    tones = _tones(profile, mode)
    bands = len(image.getbands()) - (image.mode[-1] == "A")
    return image.point(tones * bands + list(_GREYS) * (image.mode[-1] == "A"))
