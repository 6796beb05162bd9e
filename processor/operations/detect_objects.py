"""detect-objects: find objects in a picture."""

from __future__ import annotations

from typing import Any

from PIL import Image

from imagemill.operations import OperationError, Output, RunContext
from processor.models.session import Session
from processor.operations.detection.annotate import annotate
from processor.operations.detection.detector import Detector, Prediction, Wanted, facts_of
from schemas.errors import ErrorCode
from schemas.params.detect_objects import DetectObjectsParams

TASK = "detect-objects"

# By model name, with the session that each was made of: a model may be loaded again.
_detectors: dict[str, tuple[Session, Detector]] = {}


def run(image: Image.Image, params: DetectObjectsParams, context: RunContext) -> Output:
    """Detect objects in an upright picture.

    The data is {image: {width, height}, predictions: [{class, class_id, confidence, box: {x, y,
    width, height}}]}, most confident first; class_id is the index in the model's own list of
    classes, from 0; boxes are in pixels of the upright picture from its top left. With `annotate`
    the output also has the picture with the predictions drawn on it.

    Raises:
        OperationError: no such model or class (params_invalid), the model is not there
            (model_unavailable), or is not a detector or failed (model_failed).
    """
    predictions = detect(image, params, context)
    data = {
        "image": {"width": image.width, "height": image.height},
        "predictions": [described(prediction) for prediction in predictions],
    }
    return Output(image=annotate(image, predictions) if params.annotate else None, data=data)


def detect(
    image: Image.Image, params: DetectObjectsParams, context: RunContext
) -> list[Prediction]:
    """Return the predictions that the params ask for.

    Raises:
        OperationError: as run().
    """
    name = params.model or context.models.default(TASK)
    session = context.models.session(name, task=TASK)
    try:
        detector = _detector(name, session)
        context.used_models.append(session.used)
        return detector.detect(image, _wanted(params, detector))
    except ValueError as error:
        raise OperationError(ErrorCode.MODEL_FAILED, f"{name}: {error}") from error


def _detector(name: str, session: Session) -> Detector:
    known = _detectors.get(name)
    if known is not None and known[0] is session:
        return known[1]
    facts = facts_of(session.inference)
    detector = Detector(facts, session.entry.input, session.run_all)
    _detectors[name] = session, detector
    return detector


def described(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction in the form of the result's data."""
    x0, y0, x1, y1 = prediction.box
    return {
        "class": prediction.name,
        "class_id": prediction.class_id,
        "confidence": round(prediction.confidence, 4),
        "box": {
            "x": round(x0, 1),
            "y": round(y0, 1),
            "width": round(x1 - x0, 1),
            "height": round(y1 - y0, 1),
        },
    }


def _wanted(params: DetectObjectsParams, detector: Detector) -> Wanted:
    classes = None
    if params.classes is not None:
        try:
            classes = detector.classes.find(params.classes)
        except LookupError as error:
            raise OperationError(ErrorCode.PARAMS_INVALID, f"classes: {error}") from error
    return Wanted(params.confidence, params.iou, params.max_detections, classes)
