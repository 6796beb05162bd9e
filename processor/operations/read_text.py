"""read-text: read the lines of text in a picture, and find a text among them."""

from __future__ import annotations

from typing import Any

from PIL import Image

from imagemill.operations import OperationError, Output, RunContext, UsedModel
from processor.operations.reading.engine import (
    Line,
    RecogniserMissing,
    TextReader,
    text_reader,
)
from processor.operations.reading.find import Match, find_text
from processor.operations.reading.letters import missing_languages, readable_languages
from schemas.errors import ErrorCode
from schemas.params.read_text import ReadTextParams


def run(image: Image.Image, params: ReadTextParams, context: RunContext) -> Output:
    """Read a picture, its lines in reading order.

    The data is {text, lines: [{text, confidence, box}], find: [{text, similarity, lines, boxes}]};
    boxes have four corners [x, y] in pixels of the picture, from the top left of the text
    clockwise.

    Raises:
        OperationError: the recogniser is missing (model_unavailable), or cannot read a language of
            the params (params_invalid).
    """
    reader = open_reader(params.model, context)
    _check_languages(reader, params)
    lines = reader.read(image, params.min_confidence, with_characters=params.find is not None)
    data = described(lines)
    if params.find is not None:
        texts = [line.text for line in lines]
        matches = find_text(params.find, texts, params.find_similarity)
        data["find"] = [described_match(match, lines) for match in matches]
    return Output(data=data)


def open_reader(model: str | None, context: RunContext) -> TextReader:
    """Return the reader with that recogniser, and add its files to the context's used models.

    Raises:
        OperationError: a file is missing or is no recogniser (model_unavailable).
    """
    own = context.models.file(model, task="read-text") if model else None
    try:
        reader = text_reader(own.path, own.sha256) if own else text_reader()
    except RecogniserMissing as error:
        raise OperationError(ErrorCode.MODEL_UNAVAILABLE, str(error)) from error
    context.used_models.extend(UsedModel(file.name, file.sha256, "cpu") for file in reader.files)
    return reader


def described(lines: list[Line]) -> dict[str, Any]:
    """Return the lines in the form of the result's data, with an empty `find`."""
    return {
        "text": "\n".join(line.text for line in lines),
        "lines": [
            {"text": line.text, "confidence": line.confidence, "box": _points(line.box)}
            for line in lines
        ],
        "find": [],
    }


def described_match(match: Match, lines: list[Line]) -> dict[str, Any]:
    """Return a match in the form of the result's data, with a box for its part of each line."""
    return {
        "text": " ".join(lines[span.line].text[span.start : span.end] for span in match.spans),
        "similarity": match.similarity,
        "lines": [span.line for span in match.spans],
        "boxes": [_points(lines[span.line].part(span.start, span.end)) for span in match.spans],
    }


def _points(quad: tuple[tuple[float, float], ...]) -> list[list[float]]:
    return [list(point) for point in quad]


def _check_languages(reader: TextReader, params: ReadTextParams) -> None:
    missing = missing_languages(params.languages, reader.letters)
    if missing:
        raise OperationError(
            ErrorCode.PARAMS_INVALID,
            f"languages: {reader.recogniser.stem} cannot read {', '.join(missing)}; it reads "
            f"{', '.join(readable_languages(reader.letters))}. Add a recogniser for others with "
            "`imagemill models add FILE.onnx --task read-text` and name it in `model`.",
        )
