"""check_image: every file a sender could get wrong is refused with a sentence that helps."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from PIL import Image, ImageDraw

from imagemill.images.check import ImageFacts, ImageLimits, ImageRejected, check_image
from imagemill.images.formats import readable
from schemas.errors import ErrorCode

SAVE = {
    "jpeg": [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}],
    "png": [{}, {"compress_level": 0}],
    "webp": [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}],
    "gif": [{}],
    "tiff": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"big_tiff": True}],
    "bmp": [{}],
    "avif": [{}],
}
CASES = [(name, options) for name, variants in SAVE.items() for options in variants]


def picture(width: int = 61, height: int = 43) -> Image.Image:
    image = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(image).line((0, 0, width, height), fill=(200, 30, 30), width=3)
    return image


def encoded(name: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, name, **options)
    return buffer.getvalue()


def check(data: bytes, filename: str | None = None, **limits: int) -> ImageFacts:
    return check_image(io.BytesIO(data), filename, ImageLimits(**limits))


def refused(data: bytes, filename: str | None = None, **limits: int) -> ImageRejected:
    with pytest.raises(ImageRejected) as caught:
        check(data, filename, **limits)
    assert caught.value.message.endswith(".")
    return caught.value


@pytest.mark.parametrize(("name", "options"), CASES)
def test_whole_files_of_every_format_pass_with_their_size(name: str, options: dict) -> None:
    data = encoded(name, **options)
    facts = check(data, f"photo.{name}")
    assert (facts.format, facts.width, facts.height) == (name, 61, 43)
    assert facts.content_type == f"image/{name}"
    assert facts.bytes == len(data)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_cut_off_files_of_every_format_are_refused(name: str, options: dict) -> None:
    data = encoded(name, **options)
    for kept in (len(data) // 3, len(data) // 2, len(data) - 40, len(data) - 3):
        error = refused(data[:kept])
        assert error.code is ErrorCode.IMAGE_UNDECODABLE
        assert error.http_status == 422


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "webp", "tiff", "bmp"])
def test_bytes_appended_by_other_programs_do_no_harm(name: str) -> None:
    assert check(encoded(name) + b"trailing notes of some camera" * 10).width == 61


def test_a_cut_jpeg_is_not_saved_by_the_end_marker_of_its_thumbnail() -> None:
    data = encoded("jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0" + encoded("jpeg", picture(16, 16)))
    assert check(data).width == 61
    assert "cut off" in refused(data[: len(data) // 2]).message


def test_a_jpeg_of_two_pictures_is_a_jpeg() -> None:
    data = encoded("mpo", append_images=[picture()], save_all=True)
    assert check(data, "pair.jpg").format == "jpeg"


def test_an_animated_gif_gives_its_canvas() -> None:
    frames = [picture().convert("P"), picture().rotate(90).convert("P")]
    assert check(encoded("gif", frames[0], save_all=True, append_images=frames[1:])).height == 43


def test_a_gif_cut_at_a_semicolon_is_cut_off() -> None:
    data = encoded("gif")
    assert "cut off" in refused(data[: len(data) // 2] + b";").message


def test_an_empty_file_is_named_empty() -> None:
    error = refused(b"", "cup.png")
    assert error.http_status == 422
    assert error.message == "The file cup.png is empty; send the image's bytes."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello, this is text", "is not an image"),
        (b"\0" * 5000, "is not an image"),
        (b"%PDF-1.7 ...", "is a PDF document"),
        (b"\n<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG drawing"),
        (b"\xff\x0a" + b"\0" * 90, "is a JPEG XL image"),
    ],
)
def test_other_files_are_named_for_what_they_are(data: bytes, words: str) -> None:
    error = refused(data, "cup.png")
    assert error.http_status == 415
    assert words in error.message
    assert "send one of JPEG, PNG, WebP" in error.message


def test_heic_is_refused_by_name_where_nothing_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagemill.images.formats.find_spec", lambda name: None)
    readable.cache_clear()
    error = refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 90, "cup.heic")
    readable.cache_clear()
    assert (error.http_status, error.code) == (415, ErrorCode.IMAGE_UNDECODABLE)
    assert error.message == (
        "The file cup.heic is a HEIC image, which this server cannot read; "
        "convert it to one of JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF."
    )


def test_a_header_over_the_pixel_limit_is_refused_without_decoding() -> None:
    header = struct.pack(">IIBBBBB", 10_000, 6_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    error = refused(data, "wall.png")
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert error.http_status == 413
    assert "10000 x 6000 pixels, 60.0 megapixels; the limit is 50.0 megapixels" in error.message


@pytest.mark.filterwarnings("error")
def test_a_canvas_of_268_megapixels_is_refused_by_our_limit_and_not_by_pillow() -> None:
    data = bytearray(encoded("webp", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = (16383 - 1).to_bytes(3, "little") * 2
    assert "268.4 megapixels" in refused(bytes(data)).message


def test_a_file_over_the_byte_limit_is_refused() -> None:
    error = refused(encoded("bmp", picture(300, 300)), max_bytes=200_000)
    assert (error.code, error.http_status) == (ErrorCode.IMAGE_TOO_LARGE, 413)
    assert "the limit is 0.2 MB" in error.message


def test_a_name_that_contradicts_the_content_gets_the_right_name_told() -> None:
    assert refused(encoded("png"), "cup.jpg").message == (
        "The file is named cup.jpg but holds a PNG image; rename it to cup.png."
    )


def test_an_extension_that_is_not_an_images_is_refused() -> None:
    error = refused(encoded("jpeg"), "cup.txt")
    assert error.http_status == 415
    assert error.message == (
        "The file cup.txt has an extension that is not an image's, but holds a JPEG image; "
        "rename it to cup.jpg."
    )


@pytest.mark.parametrize(
    "filename", [None, "", "blob", ".jpeg", "CUP.JPEG", "a/b.png/cup.jpe", "v1.2/cup", "v1.2\\cup"]
)
def test_names_that_say_nothing_wrong_pass(filename: str | None) -> None:
    assert check(encoded("jpeg"), filename).format == "jpeg"


def test_hostile_names_stay_out_of_the_message() -> None:
    message = refused(b"", "../../etc/\x1b[31m" + "x" * 500 + ".png").message
    assert message.isprintable()
    assert len(message) < 200
    assert ".." not in message.removesuffix("...")[:20]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 3_000_000,
        b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02" + b"\x01\x01" * 1_500_000,
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1, 1) + b"\0" * 3_000_000,
        b"\0\0\0\x10ftypavif\0\0\0\0" + struct.pack(">I4s", 8, b"free") * 400_000,
        b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 273, 3, 1 << 20, 26) + b"\0" * 3_000_000,
    ],
    ids=["jpeg", "gif", "png", "avif", "tiff"],
)
def test_files_made_of_endless_small_parts_cost_little_time(data: bytes) -> None:
    started = time.process_time()
    assert "damaged" in refused(data).message
    assert time.process_time() - started < 1.0


def test_any_flipped_or_lost_byte_ends_in_facts_or_a_refusal() -> None:
    for name, options in CASES:
        data = encoded(name, picture(9, 7), **options)
        for at in range(0, len(data), max(1, len(data) // 150)):
            for broken in (data[:at], data[:at] + b"\xff" + data[at + 1 :], data[:at] + b"\0" * 9):
                try:
                    check(broken)
                except ImageRejected as error:
                    assert error.message.endswith(".")
