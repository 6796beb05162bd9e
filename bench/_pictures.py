"""Image files of the benchmarks, as bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import skimage
from PIL import Image, ImageDraw, ImageFont

from bench._system import ROOT

# Trained YOLO weights lie here where they are at hand; nothing else does.
SHARED = Path(os.environ.get("IMAGEMILL_SHARED") or ROOT.parent / "shared")
# Photos of scikit-image's wheel; tests/README.md has their provenance.
PHOTOS = Path(skimage.__file__).with_name("data")
_NAMES = ("astronaut", "chelsea", "coffee")
_CAMERA = (3000, 2000)
_INVOICE = (
    "Mill & Sons, 12 Water Lane",
    "Invoice 4711",
    "2 sacks of flour, type 550",
    "Amount due: 128.50 EUR",
    "Thank you for your order",
)


def photos(count: int) -> list[bytes]:
    """Return `count` PNG photos of 0.2 megapixels, the same few again and again."""
    return _repeat([(PHOTOS / f"{name}.png").read_bytes() for name in _NAMES], count)


def camera_photos(count: int) -> list[bytes]:
    """Return `count` photos as JPEG files of 6 megapixels."""
    return _repeat([_jpeg(_opened(data).resize(_CAMERA)) for data in photos(3)], count)


def invoices(count: int) -> list[bytes]:
    """Return `count` JPEG files with five lines of text, on three colours of paper."""
    return _repeat([_jpeg(_invoice(paper)) for paper in ("white", "#f4ecd8", "#dde6ee")], count)


def scaled(data: bytes, scale: float, kind: str) -> bytes:
    """Resize a photo by `scale`, and encode it as PNG or JPEG."""
    picture = _opened(data)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    picture.save(file := io.BytesIO(), kind)
    return file.getvalue()


def _repeat(files: list[bytes], count: int) -> list[bytes]:
    return [files[number % len(files)] for number in range(count)]


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _jpeg(picture: Image.Image) -> bytes:
    picture.save(file := io.BytesIO(), "JPEG", quality=90)
    return file.getvalue()


def _invoice(paper: str) -> Image.Image:
    picture = Image.new("RGB", (800, 480), paper)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(36)
    for number, line in enumerate(_INVOICE):
        draw.text((40, 40 + 80 * number), line, font=font, fill="black")
    return picture
