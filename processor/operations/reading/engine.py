"""The text recogniser: PP-OCR through rapidocr and its bundled models, created once per process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from processor.operations.reading.ground import on_readable_ground
from processor.operations.reading.order import Quad, reading_order

if TYPE_CHECKING:
    from processor.operations.reading.turned_page import PageOcr

# Most widths per height, and heights per width. rapidocr scales the short side to 736 pixels, so a
# strip would become huge; beyond these it is padded to the proportion.
_MAX_WIDE = 60
_MAX_TALL = 8
# A second reading, of the page turned upright, counts unless it reads less than this share.
_LEAST_SHARE_UPRIGHT = 0.9


class RecogniserMissing(Exception):
    """A model file is missing, or is not a text recogniser."""


@dataclass(frozen=True)
class Line:
    """One line of text; `characters` has the quads of its characters, spaces left out.

    `characters` is empty if they were not asked for or are not known.
    """

    text: str
    confidence: float
    box: Quad
    characters: tuple[Quad, ...] = ()

    def part(self, start: int, end: int) -> Quad:
        """Return the corners around characters `start` to `end`, or of the line if unknown."""
        if not self.characters:
            return self.box
        first = sum(not c.isspace() for c in self.text[:start])
        last = first + sum(not c.isspace() for c in self.text[start:end]) - 1
        left, right = self.characters[first], self.characters[last]
        return (left[0], right[1], right[2], left[3])

    def moved(self, move: Callable[[tuple[float, float]], tuple[float, float]]) -> Line:
        """Return the line with every corner moved."""
        box, *characters = (tuple(map(move, quad)) for quad in (self.box, *self.characters))
        return replace(self, box=box, characters=tuple(characters))


@dataclass(frozen=True)
class ModelFile:
    """A model file that is used for reading."""

    name: str
    path: Path
    sha256: str


class TextReader:
    """Reads pictures with one set of models; not thread-safe."""

    def __init__(self, recogniser: Path | None) -> None:
        """Load the models; `recogniser` replaces the one that comes with rapidocr.

        Raises:
            RecogniserMissing: a file is missing, or the recogniser has no character list.
        """
        detector = _bundled("det")
        self.recogniser = recogniser or _bundled("rec")
        self.files = (_model_file(detector), _model_file(self.recogniser))
        self.letters = _letters(self.recogniser)
        self._ocr = _open(detector, _bundled("cls"), self.recogniser)

    def read(self, image: Image.Image, min_confidence: float, with_characters: bool) -> list[Line]:
        """Return the lines in reading order, also of a page that is turned by quarter turns.

        Boxes are in pixels of `image`, from the top left of the text clockwise.
        """
        from processor.operations.reading.turned_page import turned_back, upright

        picture = on_readable_ground(image)
        lines = self._read_once(picture, min_confidence, with_characters)
        turn = self._ocr.turn
        if turn:
            second = self._read_once(upright(picture, turn), min_confidence, with_characters)
            if _amount(second) < _amount(lines) * _LEAST_SHARE_UPRIGHT:
                turn = 0
            else:
                lines = second
        order = reading_order([line.box for line in lines], [line.text for line in lines])
        ordered = [lines[index] for index in order]
        if not turn:
            return ordered
        return [line.moved(lambda point: turned_back(point, turn, image.size)) for line in ordered]

    def _read_once(
        self, picture: Image.Image, min_confidence: float, with_characters: bool
    ) -> list[Line]:
        # Every setting at every call: rapidocr keeps those of the last one.
        found: Any = self._ocr(
            _bgr(picture),
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
        characters = _in_step(found.txts, words, picture.size)
        return [
            Line(text, round(float(score), 4), _quad(box, picture.size), quads)
            for text, score, box, quads in zip(
                found.txts, found.scores, found.boxes, characters, strict=True
            )
        ]


@cache
def text_reader(recogniser: Path | None = None, sha256: str = "") -> TextReader:
    """Return this process's reader with that recogniser; creating it takes 0.5 s.

    `sha256` is the file's: after the file is replaced, a new reader is created.

    Raises:
        RecogniserMissing: a file is missing, or the recogniser has no character list.
    """
    return TextReader(recogniser)


def _open(detector: Path, classifier: Path, recogniser: Path) -> PageOcr:
    # Imports rapidocr and OpenCV: only where text is read.
    from processor.operations.reading.turned_page import PageOcr

    # Every path is given: rapidocr downloads the models that it has no path for.
    return PageOcr(
        params={
            "Global.log_level": "error",
            "Det.model_path": str(detector),
            "Cls.model_path": str(classifier),
            "Rec.model_path": str(recogniser),
            # One thread, like every model here: the pool runs items in parallel.
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _bundled(task: str) -> Path:
    """Return the model file of that step inside rapidocr's package."""
    from importlib.util import find_spec

    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise RecogniserMissing("rapidocr is not installed")
    folder = Path(spec.origin).parent / "models"
    names = sorted(folder.glob(f"*_{task}_*.onnx")) or sorted(folder.glob(f"*{task}*.onnx"))
    if not names:
        raise RecogniserMissing(f"this version of rapidocr has no model for {task!r}")
    return names[0]


def _model_file(path: Path) -> ModelFile:
    with path.open("rb") as file:
        return ModelFile(path.stem, path, hashlib.file_digest(file, "sha256").hexdigest())


def _letters(recogniser: Path) -> frozenset[str]:
    """Return the characters that the recogniser knows.

    Raises:
        RecogniserMissing: its metadata has no list; rapidocr would download one.
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
    """Return the picture in OpenCV's channel order, padded if it is a narrow strip."""
    width, height = image.size
    # Padded below and on the right, so that boxes stay in place.
    padded_size = (max(width, ceil(height / _MAX_TALL)), max(height, ceil(width / _MAX_WIDE)))
    if padded_size != image.size:
        padded = Image.new("RGB", padded_size, "white")
        padded.paste(image)
        image = padded
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])


def _amount(lines: Sequence[Line]) -> float:
    """Return how much was read: characters, each weighted with its line's confidence."""
    return sum(len(line.text) * line.confidence for line in lines)


def _in_step(
    texts: Sequence[str], word_results: Sequence[Any], size: tuple[int, int]
) -> list[tuple[Quad, ...]]:
    """Return the character quads of each line; none for lines that rapidocr left out."""
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
    """Return a line's text without spaces and the quad of each of its characters."""
    known = [(text, box) for text, _, box in words or () if text.strip() and box is not None]
    return "".join(text for text, _ in known), tuple(_quad(box, size) for _, box in known)


def _quad(box: Sequence[Sequence[float]], size: tuple[int, int]) -> Quad:
    """Return the corners, clipped to the picture of that size."""
    return tuple(
        (round(min(max(float(x), 0.0), size[0]), 1), round(min(max(float(y), 0.0), size[1]), 1))
        for x, y in box
    )
