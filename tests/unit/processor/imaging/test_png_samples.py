"""Every kind of PNG is decoded as a reader written after the specification decodes it."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from imagemill.images.check import ImageLimits
from processor.imaging.decoding import decode
from tests.unit.processor.imaging import png_reference
from tests.unit.processor.imaging.png_reference import CHANNELS, DEPTHS, GREY, PALETTE, RGB, Png

KINDS = [(kind, depth) for kind, depths in DEPTHS.items() for depth in depths]


def decoded(data: bytes) -> np.ndarray:
    image, _ = decode(io.BytesIO(data), None, ImageLimits())
    return np.asarray(image.convert("RGBA"))


def made(kind: int, depth: int, interlaced: bool, key: bool, size: tuple[int, int]) -> Png:
    """A picture of few different samples, so that a key of one of them matches several pixels."""
    rng = random.Random(f"{kind} {depth} {size}")
    levels = 1 << depth
    few = [rng.randrange(levels) for _ in range(4)]
    # Samples of 16 bits whose high bytes are the key's, and whose low bytes are not.
    few += [few[0] ^ 1]
    rows = [
        [tuple(rng.choice(few) for _ in range(CHANNELS[kind])) for _ in range(size[0])]
        for _ in range(size[1])
    ]
    png = Png(kind, depth, rows, interlaced=interlaced)
    if kind == PALETTE:
        png.palette = [tuple(rng.randrange(256) for _ in range(3)) for _ in range(levels)]
    if key and kind == PALETTE:
        [first] = rows[0][0]
        png.transparency = bytes(
            0 if index == first else (255, 90)[(index - first) % 2 == 0] for index in range(levels)
        )
    elif key:
        png.transparency = struct.pack(f">{CHANNELS[kind]}H", *rows[0][0])
    return png


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "adam7"])
@pytest.mark.parametrize("key", [False, True], ids=["plain", "tRNS"])
@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_every_colour_type_and_depth(kind: int, depth: int, key: bool, interlaced: bool) -> None:
    if key and kind not in (GREY, RGB, PALETTE):
        key = False  # the specification forbids tRNS beside an alpha channel
    png = made(kind, depth, interlaced, key, (13, 11))
    data = png_reference.write(png)
    expected = np.array(png_reference.read(data).rgba())
    np.testing.assert_array_equal(decoded(data), expected)
    if key:
        assert (expected[..., 3] == 0).any()
        assert (expected[..., 3] == 255).any()


@pytest.mark.parametrize("interlaced", [False, True], ids=["rows", "adam7"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 1), (1, 9)])
def test_pictures_smaller_than_a_block_of_passes(size: tuple[int, int], interlaced: bool) -> None:
    for kind, depth in KINDS:
        data = png_reference.write(made(kind, depth, interlaced, kind in (GREY, RGB), size))
        np.testing.assert_array_equal(decoded(data), png_reference.read(data).rgba())


def test_a_key_of_16_bits_is_compared_in_full() -> None:
    rows = [[(0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD), (0x1334, 0x5678, 0x9ABC)]]
    key = struct.pack(">3H", *rows[0][0])
    data = png_reference.write(Png(RGB, 16, rows, transparency=key))
    assert decoded(data)[0, :, 3].tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("depth", "samples", "key", "alphas"),
    [
        (1, (1, 0, 1, 0), 1, [0, 255, 0, 255]),
        (2, (0, 1, 2, 3), 2, [255, 255, 0, 255]),
        (4, (0, 5, 10, 15), 5, [255, 0, 255, 255]),
        (8, (0, 5, 10, 15), 5, [255, 0, 255, 255]),
        (16, (5, 0x0500, 0x0505, 6), 5, [0, 255, 255, 255]),
    ],
)
def test_the_key_names_a_sample_and_not_its_scaled_level(
    depth: int, samples: tuple[int, ...], key: int, alphas: list[int]
) -> None:
    rows = [[(sample,) for sample in samples]]
    png = Png(GREY, depth, rows, transparency=struct.pack(">H", key))
    assert decoded(png_reference.write(png))[0, :, 3].tolist() == alphas


def test_only_the_bits_of_a_sample_count_in_its_key() -> None:
    png = Png(GREY, 4, [[(5,), (6,)]], transparency=struct.pack(">H", 0xFF05))
    assert decoded(png_reference.write(png))[0, :, 3].tolist() == [0, 255]


def test_the_reference_reads_what_another_writer_writes() -> None:
    image = Image.radial_gradient("L").resize((9, 7)).convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    rows = png_reference.read(file.getvalue()).rgba()
    np.testing.assert_array_equal(np.array(rows)[..., :3], np.asarray(image))
