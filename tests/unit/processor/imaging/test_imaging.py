"""decode and encode: what goes in upright and in its colours comes out so, whatever the format."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from imagemill.images.check import ImageLimits
from imagemill.operations import EncodeOptions, OperationError, SourceInfo
from processor.imaging.decoding import decode
from processor.imaging.encoding import encode
from schemas.errors import ErrorCode
from tests.support.pictures import first_ink_is_red, of_gamma, png_header
from tests.unit.processor.operations.transform_cases import card, cutout

ORIENTATION = 0x0112
COPYRIGHT = 0x8298
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def read(file: io.BytesIO, **limits: int) -> tuple[Image.Image, SourceInfo]:
    return decode(file, "cup.img", ImageLimits(**limits))


def refused(file: io.BytesIO, **limits: int) -> OperationError:
    with pytest.raises(OperationError) as caught:
        read(file, **limits)
    return caught.value


def reopened(image: Image.Image, source: SourceInfo, **options: Any) -> Image.Image:
    data, name = encode(image, EncodeOptions(**options), source)
    found = Image.open(io.BytesIO(data))
    found.load()
    assert found.format.lower() == name
    return found


def exif_of(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = tags.pop("orientation", 1)
    exif[COPYRIGHT] = "A. Miller"
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_every_exif_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    stored = card() if orientation == 1 else card().transpose(TURNS[orientation])
    exif = exif_of(orientation=orientation)
    image, source = read(saved(stored, kind, exif=exif, quality=95))
    assert source.size == image.size == (80, 60)
    difference = np.abs(np.asarray(image, int) - np.asarray(card(), int)).mean()
    assert difference == 0 if kind == "PNG" else difference < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_result_is_not_turned_again_and_keeps_the_other_exif_data(kind: str) -> None:
    image, source = read(saved(card(), "JPEG", exif=exif_of(orientation=6)))
    result = reopened(image, source, format=kind.lower())
    assert result.size == (60, 80)
    assert ImageOps.exif_transpose(result).size == (60, 80)
    assert result.getexif()[COPYRIGHT] == "A. Miller"


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0"]
)
def test_damaged_exif_data_costs_nothing_but_itself(exif: bytes) -> None:
    image, source = read(saved(card(), "JPEG", exif=exif))
    assert image.size == (80, 60)
    assert reopened(image, source, format="jpeg").size == (80, 60)


def test_exif_data_too_long_for_a_jpeg_is_left_out_of_it() -> None:
    exif = exif_of()
    exif[0x9286] = b"x" * 70_000
    image, source = read(saved(card(), "PNG", exif=exif))
    assert not reopened(image, source, format="jpeg").getexif()
    assert reopened(image, source, format="png").getexif()[COPYRIGHT] == "A. Miller"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_colour_profile_is_kept_while_there_are_colours(kind: str) -> None:
    image, source = read(saved(card(), kind, icc_profile=SRGB))
    assert reopened(image, source, format=kind.lower()).info["icc_profile"] == SRGB
    clear = image.copy()
    clear.putalpha(99)
    assert reopened(clear, source, format=kind.lower()).info["icc_profile"] == SRGB
    grey = image.convert("L")
    assert not reopened(grey, source, format=kind.lower()).info.get("icc_profile")


@pytest.mark.parametrize(("space", "made"), [(b"GRAY", "RGBA"), (b"RGB ", "L"), (b"RGB ", "LA")])
def test_tones_look_the_same_when_colours_become_greys_or_greys_colours(
    space: bytes, made: str
) -> None:
    stored = Image.linear_gradient("L")
    profile = of_gamma(1.0, space)
    file = saved(stored.convert("L" if space == b"GRAY" else "RGB"), "PNG", icc_profile=profile)
    image, source = read(file)
    result = reopened(image.convert(made), source)
    assert (result.mode, result.info.get("icc_profile")) == (made, None)
    # Half of the light is a value of 188 in sRGB.
    assert [result.getchannel(0).getpixel((0, y)) for y in (0, 128, 255)] == [0, 188, 255]
    assert made[-1] != "A" or result.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_stripped_results_have_no_metadata_at_all(kind: str) -> None:
    file = saved(card(), kind, icc_profile=SRGB, exif=exif_of())
    image, source = read(file)
    result = reopened(image, source, format=kind.lower(), strip_metadata=True)
    assert not result.info.get("icc_profile")
    assert COPYRIGHT not in result.getexif()


@pytest.mark.parametrize(
    ("stored", "mode"),
    [
        (card(), "RGB"),
        (card().convert("L"), "L"),
        (card().convert("1"), "L"),
        (card().quantize(64), "RGB"),
        (cutout(), "RGBA"),
        (cutout().convert("LA"), "LA"),
        (Image.fromarray(np.linspace(0, 65535, 4800).reshape(60, 80).astype("uint16")), "L"),
    ],
    ids=["RGB", "L", "1", "P", "RGBA", "LA", "I;16"],
)
def test_every_mode_of_a_png_becomes_one_that_operations_know(
    stored: Image.Image, mode: str
) -> None:
    image, _ = read(saved(stored, "PNG"))
    assert (image.mode, image.size) == (mode, (80, 60))
    values = np.asarray(image.convert("L"))
    assert values.max() - values.min() > 100


@pytest.mark.parametrize(("mode", "kind"), [("I;16", "<u2"), ("I;16B", ">u2")])
def test_both_byte_orders_of_a_deep_grey_tiff_are_read(mode: str, kind: str) -> None:
    values = np.linspace(0, 65535, 4800).astype(kind)
    stored = Image.frombytes(mode, (80, 60), values.tobytes())
    image, _ = read(saved(stored, "TIFF"))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image).ravel(), values >> 8)


@pytest.mark.parametrize(
    "stored", [card(), card().convert("L"), card().quantize(16)], ids=["RGB", "L", "P"]
)
def test_a_single_transparent_colour_counts_as_alpha(stored: Image.Image) -> None:
    transparent = stored.getpixel((0, 0))
    image, _ = read(saved(stored, "PNG", transparency=transparent))
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0))[3] == 0


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_wide_ranges_are_stretched_to_what_can_be_seen(kind: str) -> None:
    stored = Image.fromarray(np.linspace(-3000, 5000, 4800).reshape(60, 80).astype(kind))
    image, _ = read(saved(stored, "TIFF"))
    assert image.mode == "L"
    assert image.getextrema() == (0, 255)


@pytest.mark.parametrize("profile", [None, b"not a profile"])
def test_cmyk_jpegs_come_out_in_their_colours(profile: bytes | None) -> None:
    options = {"icc_profile": profile} if profile else {}
    image, _ = read(saved(card().convert("CMYK"), "JPEG", quality=95, **options))
    assert image.mode == "RGB"
    difference = np.asarray(image, int) - np.asarray(card(), int)
    assert np.abs(difference).mean() < 12


def test_a_cmyk_jpegs_profile_says_what_its_inks_look_like() -> None:
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image, source = read(saved(inks, "JPEG", quality=95, icc_profile=first_ink_is_red()))
    red, green, blue = image.getpixel((8, 8))
    assert red > 200
    assert max(green, blue) < 60
    # It describes inks, and the result has none.
    assert not reopened(image, source, format="jpeg").info.get("icc_profile")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    file = saved(card(), kind, save_all=True, append_images=[card().rotate(180)], duration=100)
    image, _ = read(file)
    difference = np.asarray(image.convert("RGB"), int) - np.asarray(card(), int)
    assert np.abs(difference).mean() < 12


@pytest.mark.filterwarnings("error")
def test_the_pixel_limit_is_ours_in_both_directions() -> None:
    error = refused(io.BytesIO(png_header(10_000, 6_000)))
    assert error.error.code is ErrorCode.IMAGE_TOO_LARGE
    whole = saved(Image.new("1", (14_000, 14_000)), "PNG")
    image, _ = read(whole, max_pixels=200_000_000)
    assert image.size == (14_000, 14_000)


def test_damaged_pixels_are_the_senders_fault() -> None:
    data = bytearray(saved(card(), "PNG").getvalue())
    data[43:60] = b"\xff" * 17
    error = refused(io.BytesIO(bytes(data)))
    assert error.error.code is ErrorCode.IMAGE_UNDECODABLE
    assert error.error.error_class == "input"
    assert error.error.message.startswith("cup.img cannot be decoded: ")


@pytest.mark.parametrize(
    ("image", "source", "asked", "name"),
    [
        (card(), "jpeg", None, "jpeg"),
        (card(), "webp", None, "webp"),
        (card(), "bmp", None, "png"),
        (cutout(), "jpeg", None, "png"),
        (cutout(), "jpeg", "webp", "webp"),
        (cutout(), "png", "jpeg", "jpeg"),
    ],
)
def test_the_format_is_the_asked_one_or_one_that_loses_nothing(
    image: Image.Image, source: str, asked: str | None, name: str
) -> None:
    assert encode(image, EncodeOptions(format=asked), SourceInfo(source, (80, 60), 1))[1] == name


def test_jpegs_have_white_where_there_was_nothing() -> None:
    result = reopened(cutout(), SourceInfo("png", (80, 60), 1), format="jpeg")
    assert min(result.getpixel((1, 1))) > 250


def test_quality_and_png_level_change_the_size_of_the_file() -> None:
    source = SourceInfo("png", (80, 60), 1)
    for name in ("jpeg", "webp", "avif"):
        low, high = (
            len(encode(card(), EncodeOptions(format=name, quality=quality), source)[0])
            for quality in (20, 95)
        )
        assert low < high
    fast, small = (len(encode(card(), EncodeOptions("png", None, n), source)[0]) for n in (1, 9))
    assert small < fast


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "gif"])
def test_a_picture_too_wide_for_its_format_says_so(name: str) -> None:
    with pytest.raises(OperationError) as caught:
        encode(Image.new("L", (70_000, 1)), EncodeOptions(name), SourceInfo("png", (1, 1), 1))
    assert caught.value.error.code is ErrorCode.PARAMS_INVALID
    assert f"cannot be written as {name}" in caught.value.error.message
