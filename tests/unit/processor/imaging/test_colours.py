"""A colour looks the same in every output format, with its profile or without."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from imagemill.images.check import ImageLimits
from imagemill.operations import EncodeOptions, RunContext, SourceInfo
from processor.imaging.decoding import decode
from processor.imaging.encoding import encode
from processor.imaging.profiles import from_srgb
from processor.operations import transform
from schemas.params.transform import TransformParams
from tests.support.pictures import first_ink_is_red, in_srgb, of_gamma
from tests.unit.processor.imaging import png_reference

FORMATS = ("png", "jpeg", "webp", "avif", "tiff", "gif", "bmp")
CARRYING = ("png", "jpeg", "webp", "avif", "tiff")
COLOUR = (200, 100, 60)
GREY = 100
# Of a grey profile of gamma 1: the share of light, encoded as sRGB does.
GREY_IN_SRGB = 168
SPACES = [("Display P3", 2.2), ("Adobe RGB", 2.2), ("sRGB", 1.0)]


def stored(image: Image.Image, kind: str, profile: bytes | None) -> io.BytesIO:
    file = io.BytesIO()
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    image.save(file, kind, icc_profile=profile, **options)
    return file


def read(file: io.BytesIO) -> tuple[Image.Image, SourceInfo]:
    return decode(file, None, ImageLimits())


def written(image: Image.Image, source: SourceInfo, **options: object) -> Image.Image:
    result = Image.open(io.BytesIO(encode(image, EncodeOptions(**options), source)[0]))
    result.load()
    return result


def shown(image: Image.Image) -> tuple[int, ...]:
    """The middle pixel as a viewer shows it on an sRGB screen."""
    profile = image.info.get("icc_profile")
    seen = image.convert("L" if image.mode == "1" else "RGB") if image.mode == "P" else image
    if profile:
        inside = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        screen = ImageCms.createProfile("sRGB")
        base = seen.convert(seen.mode.rstrip("A")) if seen.mode in ("LA", "RGBA") else seen
        seen = ImageCms.profileToProfile(base, inside, screen, outputMode="RGB")
    return seen.convert("RGB").getpixel((seen.width // 2, seen.height // 2))


def near(found: tuple[int, ...], expected: tuple[int, ...], within: int = 4) -> bool:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= within


@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "alpha"])
@pytest.mark.parametrize(("space", "gamma"), SPACES)
def test_colours_of_a_matrix_profile(
    space: str, gamma: float, alpha: bool, kind: str, strip: bool
) -> None:
    profile = of_gamma(gamma, b"RGB ", space)
    image, source = read(stored(Image.new("RGB", (32, 32), COLOUR), "PNG", profile))
    if alpha:
        image.putalpha(Image.new("L", image.size, 255))
    result = written(image, source, format=kind, strip_metadata=strip)
    assert near(shown(result), in_srgb(COLOUR, gamma, space))
    carried = kind in CARRYING and not strip
    assert (result.info.get("icc_profile") or None) == (profile if carried else None)


def test_display_p3_in_a_png_without_its_profile_is_the_same_colour_in_srgb() -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    p3 = of_gamma(2.2, b"RGB ", "Display P3")
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        into, out = (_value_of(name, data) for data in (bytes(profile), p3))
        profile[into : into + 20] = p3[out : out + 20]
    file = stored(Image.new("RGB", (64, 64), COLOUR), "PNG", bytes(profile))
    result = written(*read(file), strip_metadata=True)
    assert near(result.getpixel((5, 5)), (215, 93, 47), within=3)


def _value_of(name: bytes, profile: bytes) -> int:
    directory = profile.index(name, 128)
    return int.from_bytes(profile[directory + 4 : directory + 8], "big")


@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["L", "LA", "RGB"])
def test_tones_of_a_grey_profile(mode: str, kind: str, strip: bool) -> None:
    profile = of_gamma(1.0, b"GRAY")
    image, source = read(stored(Image.new("L", (32, 32), GREY), "PNG", profile))
    result = written(image.convert(mode), source, format=kind, strip_metadata=strip)
    assert near(shown(result), (GREY_IN_SRGB,) * 3)
    carried = kind in ("png", "jpeg", "tiff") and mode != "RGB" and not strip
    assert bool(result.info.get("icc_profile")) == carried


@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("container", ["JPEG", "TIFF"])
def test_inks_become_srgb_by_their_profile(container: str, kind: str, strip: bool) -> None:
    inks = Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    image, source = read(stored(inks, container, first_ink_is_red()))
    assert source.icc_profile is None
    result = written(image, source, format=kind, strip_metadata=strip)
    red, green, blue = shown(result)
    assert red > 200
    assert max(green, blue) < 60
    assert not result.info.get("icc_profile")


@pytest.mark.parametrize("kind", FORMATS)
def test_cielab_becomes_srgb(kind: str) -> None:
    lab = Image.new("LAB", (32, 32), (136, 128 + 81, 128 + 70))  # red: L 53, a 81, b 70
    image, source = read(stored(lab, "TIFF", None))
    red, green, blue = shown(written(image, source, format=kind))
    assert red > 240
    assert max(green, blue) < 40


@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "profile",
    [
        b"not a profile",
        of_gamma(2.2, b"RGB ", "Display P3")[:200],
        b"\0" * 16 + b"RGB " + b"\0" * 300,
        first_ink_is_red(),
    ],
    ids=["text", "cut off", "zeros", "of inks"],
)
def test_a_profile_that_describes_nothing_counts_as_none(
    profile: bytes, kind: str, strip: bool
) -> None:
    image, source = read(stored(Image.new("RGB", (32, 32), COLOUR), "PNG", profile))
    result = written(image, source, format=kind, strip_metadata=strip)
    assert near(shown(result), COLOUR)
    assert not result.info.get("icc_profile")


def test_numbers_under_an_srgb_profile_stay_as_they_are_without_it() -> None:
    ramp = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = written(*read(stored(Image.fromarray(ramp), "PNG", srgb)), strip_metadata=True)
    np.testing.assert_array_equal(np.asarray(result), ramp)


def test_alpha_stays_where_colours_are_converted() -> None:
    profile = of_gamma(2.2, b"RGB ", "Display P3")
    file = stored(Image.new("RGBA", (16, 16), (*COLOUR, 77)), "PNG", profile)
    result = written(*read(file), strip_metadata=True)
    assert result.mode == "RGBA"
    assert result.getchannel("A").getextrema() == (77, 77)
    assert near(result.getpixel((1, 1))[:3], in_srgb(COLOUR, 2.2, "Display P3"))


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_a_mask_has_no_colours_to_convert(space: bytes) -> None:
    source = SourceInfo("png", (256, 1), 1, icc_profile=of_gamma(1.0, space))
    mask = Image.frombytes("L", (256, 1), bytes(range(256)))
    for strip in (False, True):
        result = written(mask, source, format="png", is_mask=True, strip_metadata=strip)
        assert result.tobytes() == bytes(range(256))
        assert "icc_profile" not in result.info


def picture(mode: str) -> Image.Image:
    """Clear on the left with a colour hidden there, and opaque on the right."""
    image = Image.new("RGBA", (40, 40), (0, 255, 0, 0))
    image.paste((200, 200, 200, 255), (20, 0, 40, 40))
    match mode:
        case "P":
            reduced = Image.new("P", (40, 40), 3)
            reduced.putpalette([0, 255, 0] * 7 + [200, 200, 200])
            reduced.paste(7, (20, 0, 40, 40))
            reduced.info["transparency"] = 3
            return reduced
        case "PA":
            return _pa(image)
        case "La" | "RGBa":
            return image.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
        case _:
            return image.convert(mode)


def _pa(image: Image.Image) -> Image.Image:
    reduced = image.convert("RGB").quantize(4).convert("PA")
    reduced.putalpha(image.getchannel("A"))
    return reduced


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA", "P"])
@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif", "tiff"])
def test_clear_stays_clear_whatever_mode_an_operation_gives(mode: str, kind: str) -> None:
    result = written(picture(mode), SourceInfo("png", (40, 40), 1), format=kind).convert("RGBA")
    assert result.getpixel((5, 20))[3] == 0
    assert near(result.getpixel((35, 20)), (200, 200, 200, 255))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "RGBa", "PA", "P"])
@pytest.mark.parametrize("kind", ["jpeg", "bmp"])
def test_clear_is_white_where_a_format_has_no_alpha(mode: str, kind: str) -> None:
    result = written(picture(mode), SourceInfo("png", (40, 40), 1), format=kind).convert("RGB")
    assert near(result.getpixel((5, 20)), (255, 255, 255))
    assert near(result.getpixel((35, 20)), (200, 200, 200))


def test_a_gif_has_its_own_colours_for_what_is_visible() -> None:
    """Neither hidden colours nor the clear one take a visible colour's place."""
    ramp = np.zeros((16, 16, 4), np.uint8)
    ramp[..., 0] = np.arange(256).reshape(16, 16)
    ramp[..., 3] = 255
    ramp[0, 0] = (9, 250, 9, 0)
    result = written(Image.fromarray(ramp), SourceInfo("png", (16, 16), 1), format="gif")
    found = np.asarray(result.convert("RGBA")).astype(int)
    assert found[0, 0, 3] == 0
    assert (found[..., 3].ravel()[1:] == 255).all()
    assert np.abs(found[..., 0] - ramp[..., 0]).ravel()[1:].max() <= 6
    assert found[..., 1].ravel()[1:].max() <= 6


@pytest.mark.parametrize("alpha", [0, 127, 128, 255])
def test_a_gif_is_clear_or_opaque(alpha: int) -> None:
    image = Image.new("RGBA", (8, 8), (10, 20, 200, alpha))
    result = written(image, SourceInfo("png", (8, 8), 1), format="gif").convert("RGBA")
    assert result.getpixel((4, 4))[3] == (255 if alpha >= 128 else 0)
    if alpha >= 128:
        assert near(result.getpixel((4, 4))[:3], (10, 20, 200))


P3_PLACES = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB_PLACES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def chunked(gamma: float | None, places: tuple[float, ...] | None, **more: bytes) -> io.BytesIO:
    """A PNG of one colour with chunks that say what its numbers mean."""
    chunks = {name.encode(): data for name, data in more.items()}
    if gamma is not None:
        chunks[b"gAMA"] = struct.pack(">I", round(gamma * 100_000))
    if places is not None:
        chunks[b"cHRM"] = struct.pack(">8I", *(round(place * 100_000) for place in places))
    rows = [[COLOUR] * 32 for _ in range(32)]
    png = png_reference.Png(png_reference.RGB, 8, rows, chunks=chunks)
    return io.BytesIO(png_reference.write(png))


@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("gamma", "places", "space"),
    [(1 / 2.2, P3_PLACES, "Display P3"), (1.0, None, "sRGB"), (0.5, SRGB_PLACES, "sRGB")],
)
def test_gama_and_chrm_chunks_count_as_a_profile(
    gamma: float, places: tuple[float, ...] | None, space: str, kind: str, strip: bool
) -> None:
    result = written(*read(chunked(gamma, places)), format=kind, strip_metadata=strip)
    assert near(shown(result), in_srgb(COLOUR, 1 / gamma, space))


@pytest.mark.parametrize(
    ("gamma", "places", "more"),
    [
        (0.45455, SRGB_PLACES, {}),
        (0.45455, None, {}),
        (1.0, P3_PLACES, {"sRGB": b"\0"}),
        (None, P3_PLACES, {}),
        (0.0, P3_PLACES, {}),
        (1.0, (0.3, 0.0) * 4, {}),
        (1.0, (0.3, 0.3) * 4, {}),
    ],
    ids=["sRGB's", "sRGB's gamma", "sRGB", "no gAMA", "zero", "no height", "one point"],
)
def test_chunks_that_say_srgb_or_nothing_leave_the_numbers(
    gamma: float | None, places: tuple[float, ...] | None, more: dict[str, bytes]
) -> None:
    result = written(*read(chunked(gamma, places, **more)))
    assert result.getpixel((5, 5)) == COLOUR
    assert not result.info.get("icc_profile")


ORANGE = (255, 136, 0)


@pytest.mark.parametrize(
    "step",
    [
        {"do": "background", "color": "#ff8800"},
        {"do": "pad", "left": 40, "top": 40, "right": 40, "bottom": 40, "color": "#ff8800"},
        {"do": "extend", "width": 90, "height": 90, "color": "#ff8800"},
        {"do": "rotate", "degrees": 45, "background": "#ff8800"},
    ],
    ids=lambda step: step["do"],
)
@pytest.mark.parametrize("strip", [False, True], ids=["kept", "stripped"])
@pytest.mark.parametrize(
    ("stored_as", "profile"),
    [
        ("RGB", None),
        ("RGB", of_gamma(2.2, b"RGB ", "Display P3")),
        ("RGB", of_gamma(2.2, b"RGB ", "Adobe RGB")),
        ("L", of_gamma(1.0, b"GRAY")),
    ],
    ids=["sRGB", "P3", "Adobe", "grey"],
)
def test_colours_in_params_look_the_same_in_every_picture(
    stored_as: str, profile: bytes | None, strip: bool, step: dict[str, object]
) -> None:
    clear = Image.new(stored_as, (32, 32))
    clear.putalpha(0)
    image, source = read(stored(clear, "PNG", profile))
    context = RunContext(None, source, max_pixels=10**6)
    params = TransformParams.model_validate(
        {"steps": [step, {"do": "crop", "x": 0, "y": 0, "width": 4, "height": 4}]}
    )
    output = transform.run(image, params, context)
    result = written(output.image, source, format="png", strip_metadata=strip)
    assert near(shown(result), ORANGE, within=6)


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_a_grey_in_params_leaves_a_grey_picture_grey(space: bytes) -> None:
    for level in range(256):
        *levels, alpha = from_srgb((level, level, level, 200), of_gamma(1.8, space))
        assert len(set(levels)) == 1
        assert alpha == 200
