"""process-image-and-text: facts about a picture and a text, and the text's places in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from PIL import Image

from imagemill.operations import OperationError, Output, RunContext
from processor.operations.describing.image_facts import image_facts
from processor.operations.describing.sentence import message
from processor.operations.describing.text_facts import COMMON_WORDS, text_facts, words
from processor.operations.detect_objects import described as described_object
from processor.operations.detect_objects import detect
from processor.operations.read_text import described, described_match, open_reader
from processor.operations.reading.engine import Line
from processor.operations.reading.find import find_text
from schemas.errors import ErrorCode
from schemas.params.detect_objects import DetectObjectsParams
from schemas.params.image_text import ImageTextParams

log = logging.getLogger(__name__)

# Least confidence of a line, similarity of a place, and confidence of an object, 0 to 1.
MIN_CONFIDENCE = 0.5
SIMILARITY = 0.75
OBJECT_CONFIDENCE = 0.4
# Most pieces of a text that are searched, and least letters of a word among them.
_MAX_PIECES = 50
_MIN_WORD_LETTERS = 3

_EVERYDAY = frozenset().union(*COMMON_WORDS.values())


def run(image: Image.Image, params: ImageTextParams, context: RunContext) -> Output:
    """Describe an upright picture and the text that came with it.

    The data is {message, text: facts of the given text, image: facts of the picture with its
    objects, recognised: {text, lines}, found: [{looked_for, text, similarity, lines, boxes}]}.
    `image.objects` is null where no detector is installed, and the message says so.

    Raises:
        OperationError: the text recogniser is missing, or a model failed.
    """
    reader = open_reader(None, context)
    lines = reader.read(image, MIN_CONFIDENCE, with_characters=True)
    found = places(params.text, lines)
    objects = _objects(image, context)
    read = described(lines)
    pieces = list(dict.fromkeys(place["looked_for"] for place in found))
    return Output(
        data={
            "message": message(
                params.text,
                [line.text for line in lines],
                pieces,
                None if objects is None else [one["class"] for one in objects],
            ),
            "text": text_facts(params.text),
            "image": {**image_facts(image, context.source), "objects": objects},
            "recognised": {"text": read["text"], "lines": read["lines"]},
            "found": found,
        }
    )


def places(text: str, lines: list[Line]) -> list[dict[str, Any]]:
    """Find the text in the picture: as a whole, else its lines, else its rarer words."""
    texts = [line.text for line in lines]
    for pieces in _pieces(text):
        found = [
            {"looked_for": piece, **described_match(match, lines)}
            for piece in pieces
            for match in find_text(piece, texts, SIMILARITY)
        ]
        if found:
            return found
    return []


def _objects(image: Image.Image, context: RunContext) -> list[dict[str, Any]] | None:
    """Return the default detector's objects, or None if it is not installed."""
    try:
        predictions = detect(image, DetectObjectsParams(confidence=OBJECT_CONFIDENCE), context)
    except OperationError as error:
        # The text part is complete without objects, and the detector is optional.
        if error.error.code is not ErrorCode.MODEL_UNAVAILABLE:
            raise
        log.warning("objects are left out: %s", error)
        return None
    return [described_object(prediction) for prediction in predictions]


def _pieces(text: str) -> Iterator[list[str]]:
    yield [text]
    split = [line.strip() for line in text.splitlines() if line.strip()]
    if len(split) > 1:
        yield split[:_MAX_PIECES]
    rarer = [
        word
        for word in words(text)
        if len(word) >= _MIN_WORD_LETTERS and word.lower() not in _EVERYDAY
    ]
    yield list(dict.fromkeys(rarer))[:_MAX_PIECES]
