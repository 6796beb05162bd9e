"""Files of other writers than Pillow, and of kinds that Pillow alone reads wrongly."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from imagemill.images.check import ImageLimits
from imagemill.operations import OperationError
from processor.imaging.decoding import decode
from schemas.errors import ErrorCode
from tests.support.pictures import first_ink_is_red
from tests.unit.processor.operations.transform_cases import card, cutout

CARD = np.asarray(card())
GREY = np.asarray(card().convert("L"))
CUTOUT = np.asarray(cutout())
GREY_CUTOUT = np.asarray(cutout().convert("LA"))


def tiff(samples: np.ndarray, order: str, photometric: str, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric=photometric, byteorder=order, **options)
    return file.getvalue()


def decoded(data: bytes) -> Image.Image:
    return decode(io.BytesIO(data), None, ImageLimits())[0]


def deep(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.uint16) * 257


def planes(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(samples.transpose(2, 0, 1))


def premultiplied(samples: np.ndarray) -> np.ndarray:
    product = samples.astype(int)
    product[..., :-1] = (product[..., :-1] * product[..., -1:] + 127) // 255
    return product.astype(np.uint8)


SEPARATE = {"planarconfig": "separate"}
UNASSOCIATED = {"extrasamples": ["unassalpha"]}
ASSOCIATED = {"extrasamples": ["assocalpha"]}
PACKED = {"planarconfig": "contig", "compression": "zlib"}
TIFFS: dict[str, tuple[np.ndarray, str, dict[str, Any], np.ndarray, int]] = {
    "rgb": (CARD, "rgb", {}, CARD, 0),
    "rgb tiled": (CARD, "rgb", {"tile": (16, 16)}, CARD, 0),
    "rgb zlib": (CARD, "rgb", {"compression": "zlib"}, CARD, 0),
    "rgb 16": (deep(CARD), "rgb", {}, CARD, 0),
    "rgb planes": (planes(CARD), "rgb", SEPARATE, CARD, 0),
    "rgb planes 16": (planes(deep(CARD)), "rgb", SEPARATE, CARD, 0),
    "rgb planes 16 zlib": (planes(deep(CARD)), "rgb", SEPARATE | {"compression": "zlib"}, CARD, 0),
    "grey 16": (deep(GREY), "minisblack", {}, GREY, 0),
    "white is 0": (255 - GREY, "miniswhite", {}, GREY, 0),
    "rgba": (CUTOUT, "rgb", UNASSOCIATED, CUTOUT, 0),
    "rgba 16": (deep(CUTOUT), "rgb", UNASSOCIATED, CUTOUT, 0),
    "rgba planes": (planes(CUTOUT), "rgb", SEPARATE | UNASSOCIATED, CUTOUT, 0),
    "rgba planes 16": (planes(deep(CUTOUT)), "rgb", SEPARATE | UNASSOCIATED, CUTOUT, 0),
    "rgba associated": (premultiplied(CUTOUT), "rgb", ASSOCIATED, CUTOUT, 3),
    "rgba associated 16": (deep(premultiplied(CUTOUT)), "rgb", ASSOCIATED, CUTOUT, 3),
    "grey alpha": (GREY_CUTOUT, "minisblack", PACKED | UNASSOCIATED, GREY_CUTOUT, 0),
    "grey alpha associated": (
        premultiplied(GREY_CUTOUT), "minisblack", PACKED | ASSOCIATED, GREY_CUTOUT, 3
    ),
}  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("name", TIFFS)
def test_tiffs_of_another_writer(name: str, order: str) -> None:
    samples, photometric, options, expected, within = TIFFS[name]
    found = np.asarray(decoded(tiff(samples, order, photometric, **options))).astype(int)
    assert found.shape == expected.shape
    visible = expected[..., -1:] > 60 if expected.shape[-1] in (2, 4) else np.full((1, 1), True)
    difference = np.abs(found - expected)
    assert (difference * visible if difference.ndim == 3 else difference).max() <= within


def test_greys_of_16_bits_with_white_at_0() -> None:
    data = tiff(0xFFFF - deep(GREY), "<", "miniswhite")
    np.testing.assert_array_equal(np.asarray(decoded(data)), GREY)


def test_integers_of_32_bits_have_no_sign_where_the_file_gives_none() -> None:
    ramp = (np.arange(256, dtype=np.uint32) << 24).reshape(16, 16)
    found = np.asarray(decoded(tiff(ramp, "<", "minisblack")))
    np.testing.assert_allclose(found, np.arange(256).reshape(16, 16), atol=1)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_signed_and_float_values_are_stretched(kind: type) -> None:
    ramp = np.linspace(-3000, 5000, 256).astype(kind).reshape(16, 16)
    found = np.asarray(decoded(tiff(ramp, "<", "minisblack")))
    np.testing.assert_allclose(found.ravel(), np.arange(256), atol=1)


def test_values_that_are_no_numbers_do_not_hide_the_others() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    ramp[0, :3] = [np.nan, np.inf, -np.inf]
    found = np.asarray(decoded(tiff(ramp, "<", "minisblack"))).ravel()
    assert found[:3].tolist() == [0, 255, 0]
    np.testing.assert_allclose(found[3:], np.arange(3, 256), atol=4)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_a_kind_that_cannot_be_read_is_named_without_an_address(kind: type) -> None:
    with pytest.raises(OperationError) as caught:
        decoded(tiff(np.zeros((4, 4), kind), "<", "minisblack"))
    assert caught.value.error.code is ErrorCode.IMAGE_UNDECODABLE
    assert caught.value.error.message == (
        "The image cannot be decoded: TIFF of this kind is not supported"
    )


def test_a_gif_is_clear_where_its_first_frame_does_not_reach() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 0, 0)).quantize(16).save(file, "GIF")
    data = bytearray(file.getvalue())
    data[6:10] = struct.pack("<HH", 40, 40)
    frame = data.index(b",", 13 + (3 << ((data[10] & 7) + 1)))
    data[frame + 1 : frame + 5] = struct.pack("<HH", 10, 10)
    image = decoded(bytes(data))
    assert (image.mode, image.size) == ("RGBA", (40, 40))
    assert image.getchannel("A").getbbox() == (10, 10, 30, 30)
    assert image.getpixel((15, 15)) == (200, 0, 0, 255)


def test_an_animated_webp_is_clear_where_its_first_frame_does_not_reach() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 0, 0)).save(file, "WEBP", lossless=True)
    still = file.getvalue()[12:]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def three(number: int) -> bytes:
        return number.to_bytes(3, "little")

    canvas = chunk(b"VP8X", b"\x12\0\0\0" + three(39) + three(39))
    background = chunk(b"ANIM", b"\xff\x00\x00\xff" + b"\0\0")
    # Offsets count in steps of two pixels.
    frame = three(5) + three(5) + three(19) + three(19) + three(90) + b"\0" + still
    body = b"WEBP" + canvas + background + chunk(b"ANMF", frame) * 2
    image = decoded(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert (image.mode, image.size) == ("RGBA", (40, 40))
    assert image.getchannel("A").getbbox() == (10, 10, 30, 30)
    assert image.getpixel((15, 15)) == (200, 0, 0, 255)


@pytest.mark.parametrize("header", [40, 108, 124])
def test_alpha_in_a_bmp_counts_where_its_header_names_it(header: int) -> None:
    rows = CUTOUT[::-1, :, [2, 1, 0, 3]].tobytes()
    compression = 3 if header > 40 else 0
    size = (header, 80, 60, 1, 32, compression, len(rows), 0, 0, 0, 0)
    info = struct.pack("<IiiHHIIiiII", *size)
    if header > 40:
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        info += (masks + b"BGRs").ljust(header - 40, b"\0")
    start = 14 + len(info)
    data = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + rows
    expected = CUTOUT if header > 40 else CUTOUT[..., :3]
    np.testing.assert_array_equal(np.asarray(decoded(data)), expected)


def ycck(inks: tuple[int, int, int, int], profile: bytes | None) -> bytes:
    """A JPEG of one colour in inks, stored as luminance, chrominance and black."""
    cyan, magenta, yellow, black = inks
    planes = Image.new("RGB", (32, 32), (cyan, magenta, yellow)).convert("YCbCr").split()
    stored = [plane.point([255 - level for level in range(256)]) for plane in planes]
    image = Image.merge("CMYK", [*stored, Image.new("L", (32, 32), black)])
    file = io.BytesIO()
    image.save(file, "JPEG", quality=100, subsampling=0, icc_profile=profile)
    data = bytearray(file.getvalue())
    # The transform of Adobe's marker: 2 says YCCK.
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (255, 255, 0)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_ycck_jpegs_are_in_their_colours(inks: tuple, colour: tuple) -> None:
    found = decoded(ycck(inks, None)).getpixel((16, 16))
    assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 4


def test_a_ycck_jpegs_profile_says_what_its_inks_look_like() -> None:
    red, green, blue = decoded(ycck((255, 0, 0, 0), first_ink_is_red())).getpixel((16, 16))
    assert red > 200
    assert max(green, blue) < 60
