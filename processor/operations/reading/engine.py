"""The text recogniser: PP-OCR through rapidocr, made once per process, from files it ships with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from rapidocr import RapidOCR

# rapidocr scales the short side to 736 pixels where it does not lose it altogether: pictures with
# longer sides than these many short ones get a border, as it gives one to wide ones itself.
_MOST_WIDE = 60
_MOST_TALL = 8

Quad = tuple[tuple[float, float], ...]
"""Four corners (x, y), from the top left of the text clockwise."""


class RecogniserMissing(Exception):
    """A model file that reading needs is not there, or is not a text recogniser."""


@dataclass(frozen=True)
class Line:
    """One line of text; `characters` are the quads of its characters without the spaces.

    `characters` is empty where they were not asked for or are not known.
    """

    text: str
    confidence: float
    box: Quad
    characters: tuple[Quad, ...] = ()

    def part(self, start: int, end: int) -> Quad:
        """The corners of characters `start` to `end`; of the whole line where unknown."""
        if not self.characters:
            return self.box
        first = sum(not c.isspace() for c in self.text[:start])
        last = first + sum(not c.isspace() for c in self.text[start:end]) - 1
        left, right = self.characters[first], self.characters[last]
        return (left[0], right[1], right[2], left[3])


@dataclass(frozen=True)
class ModelFile:
    """A file that takes part in reading."""

    name: str
    path: Path
    sha256: str


class TextReader:
    """Reads pictures with one set of models; not for use by several threads at once."""

    def __init__(self, recogniser: Path | None) -> None:
        """`recogniser` replaces the one that comes with rapidocr.

        Raises:
            RecogniserMissing: a file is not there, or the recogniser has no character list.
        """
        detector = _bundled("det")
        self.recogniser = recogniser or _bundled("rec")
        self.files = (_model_file(detector), _model_file(self.recogniser))
        self.letters = _letters(self.recogniser)
        self._ocr = _open(detector, _bundled("cls"), self.recogniser)

    def read(self, image: Image.Image, min_confidence: float, with_characters: bool) -> list[Line]:
        """The lines of an upright picture from top to bottom."""
        # Every setting at every call: rapidocr keeps those of the last one.
        found: Any = self._ocr(
            _bgr(image),
            use_det=True,
            use_cls=True,
            use_rec=True,
            text_score=min_confidence,
            return_word_box=with_characters,
            return_single_char_box=with_characters,
        )
        if found.txts is None or found.boxes is None:
            return []
        words = found.word_results if with_characters else ()
        characters = _in_step(found.txts, words, image.size)
        return [
            Line(text, round(float(score), 4), _quad(box, image.size), quads)
            for text, score, box, quads in zip(
                found.txts, found.scores, found.boxes, characters, strict=True
            )
        ]


@cache
def text_reader(recogniser: Path | None = None, sha256: str = "") -> TextReader:
    """This process's reader with that recogniser, made at the first use (half a second).

    `sha256` is the file's: one that has taken the place of another gets a reader of its own.

    Raises:
        RecogniserMissing: see TextReader.
    """
    return TextReader(recogniser)


def _open(detector: Path, classifier: Path, recogniser: Path) -> RapidOCR:
    from rapidocr import RapidOCR  # imports OpenCV: only where text is read

    # Every path given: what rapidocr finds no path for, it downloads.
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Det.model_path": str(detector),
            "Cls.model_path": str(classifier),
            "Rec.model_path": str(recogniser),
            # One thread, as every model here: parallel work is the pool's.
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _bundled(task: str) -> Path:
    """The model file for that step in rapidocr's own package."""
    from importlib.util import find_spec

    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise RecogniserMissing("rapidocr is not installed")
    folder = Path(spec.origin).parent / "models"
    names = sorted(folder.glob(f"*_{task}_*.onnx")) or sorted(folder.glob(f"*{task}*.onnx"))
    if not names:
        raise RecogniserMissing(f"this rapidocr comes without a model for {task!r}")
    return names[0]


def _model_file(path: Path) -> ModelFile:
    with path.open("rb") as file:
        return ModelFile(path.stem, path, hashlib.file_digest(file, "sha256").hexdigest())


def _letters(recogniser: Path) -> frozenset[str]:
    """The characters the recogniser can give.

    Raises:
        RecogniserMissing: its metadata has no list; rapidocr would look for one on the network.
    """
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(str(recogniser), options, providers=["CPUExecutionProvider"])
    listed = session.get_modelmeta().custom_metadata_map.get("character")
    if not listed:
        raise RecogniserMissing(
            f"{recogniser.stem} has no list `character` in its metadata: not a text recogniser"
        )
    return frozenset(listed.splitlines())


def _bgr(image: Image.Image) -> np.ndarray:
    """The picture as OpenCV has it, on white where it is transparent."""
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        image = Image.alpha_composite(white, rgba)
    width, height = image.size
    # Below and on the right, so that boxes stay where they are.
    room = (max(width, ceil(height / _MOST_TALL)), max(height, ceil(width / _MOST_WIDE)))
    if room != image.size:
        padded = Image.new("RGB", room, "white")
        padded.paste(image)
        image = padded
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])


def _in_step(
    texts: Sequence[str], word_results: Sequence[Any], size: tuple[int, int]
) -> list[tuple[Quad, ...]]:
    """The character quads of each line; none for lines that rapidocr has left out of its list."""
    waiting = iter(word_results)
    text, quads = _characters(next(waiting, ()), size)
    lines: list[tuple[Quad, ...]] = []
    for wanted in texts:
        if text == "".join(wanted.split()):
            lines.append(quads)
            text, quads = _characters(next(waiting, ()), size)
        else:
            lines.append(())
    return lines


def _characters(words: Sequence[Any] | None, size: tuple[int, int]) -> tuple[str, tuple[Quad, ...]]:
    """A line's text without spaces and the quad of each of its characters."""
    known = [(text, box) for text, _, box in words or () if text.strip() and box is not None]
    return "".join(text for text, _ in known), tuple(_quad(box, size) for _, box in known)


def _quad(box: Sequence[Sequence[float]], size: tuple[int, int]) -> Quad:
    """The corners, inside the picture of that size."""
    return tuple(
        (round(min(max(float(x), 0.0), size[0]), 1), round(min(max(float(y), 0.0), size[1]), 1))
        for x, y in box
    )
