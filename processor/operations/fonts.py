"""Find a font that has the letters of a text."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

# A code point that no font has: fonts draw their box for missing letters instead.
_MISSING = "\U0010fffe"
# Pillow's own font has ASCII only; these are searched in the system's font folders.
_WIDER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf")


def find_font(text: str, size: int) -> tuple[Font, list[str]]:
    """Return the first font that has all letters of the text, of that size in pixels, and [].

    If there is none: the font that lacks the fewest letters, and those letters.
    """
    found: list[tuple[Font, list[str]]] = []
    for font in _fonts(size):
        found.append((font, _lacking(text, font)))
        if not found[-1][1]:
            break
    return min(found, key=lambda one: len(one[1]))


def _fonts(size: int) -> Iterator[Font]:
    yield ImageFont.load_default(size)
    for name in _WIDER_FONTS:
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue  # not installed
        yield font


def _lacking(text: str, font: Font) -> list[str]:
    missing = bytes(font.getmask(_MISSING))
    return sorted(
        letter
        for letter in set(text)
        if not letter.isspace() and bytes(font.getmask(letter)) == missing
    )
