"""A detector model ready for use: its input recipe, the family of its outputs, its classes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from processor.models.manifest import ModelInput, picture_axes
from processor.operations.detection import heads, labels
from processor.operations.detection.labels import ClassList
from processor.operations.detection.letterbox import PAD, InputRecipe, Placement, prepare
from processor.operations.detection.nms import non_maximum_suppression

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DEFAULT_SIZE = 640
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
}
Run = Callable[[Mapping[str, NDArray]], Sequence[NDArray]]
"""Runs the model on inputs by name; returns every output, in the model's order."""


@dataclass(frozen=True)
class ModelFacts:
    """Facts in the model file; None in a shape is an open dimension."""

    input_name: str
    input_shape: tuple[int | None, ...]
    input_dtype: str
    outputs: Mapping[str, tuple[int | None, ...]]
    metadata: Mapping[str, str]


def facts_of(session: InferenceSession) -> ModelFacts:
    """Read the facts of a loaded session.

    Raises:
        heads.UnknownHead: it does not have exactly one input of numbers.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _DTYPES:
        listed = ", ".join(f"{one.name} {one.type}" for one in inputs)
        raise heads.UnknownHead(f"a detector has one picture as input, not {listed}")
    return ModelFacts(
        input_name=inputs[0].name,
        input_shape=_known(inputs[0].shape),
        input_dtype=_DTYPES[inputs[0].type],
        outputs={one.name: _known(one.shape) for one in session.get_outputs()},
        metadata=session.get_modelmeta().custom_metadata_map,
    )


def _known(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    # Open dimensions are None or have the name that the exporter gave them.
    return tuple(dim if isinstance(dim, int) and dim > 0 else None for dim in shape)


@dataclass(frozen=True)
class Wanted:
    """The predictions asked for; `classes` has class ids, None for all."""

    confidence: float
    iou: float
    limit: int
    classes: frozenset[int] | None = None


@dataclass(frozen=True)
class Prediction:
    """One object; `box` is x0, y0, x1, y1 in pixels of the upright picture.

    `class_id` is the index of the class in the model's own list, from 0.
    """

    name: str
    class_id: int
    confidence: float
    box: tuple[float, float, float, float]


class Detector:
    """A model with its recipe, head and classes, derived once from its file and entry."""

    def __init__(self, facts: ModelFacts, declared: ModelInput | None, run: Run) -> None:
        """Derive all from `facts` and the entry's `declared` input; `run` calls the model.

        Raises:
            heads.UnknownHead: the outputs are not of a known kind of detector.
            ValueError: the `names` in the metadata cannot be read.
        """
        self._facts = facts
        self._run = run
        text = facts.metadata.get("names")
        own = labels.parse_names(text) if text else {}
        size, layout = _input_size(facts, declared)
        base = InputRecipe(*size, layout=layout, dtype=facts.input_dtype)
        shapes = facts.outputs
        if any(dim is None for shape in shapes.values() for dim in shape):
            shapes = self._probe(base)
        self.plan = heads.recognise(
            size,
            shapes,
            len(own) or None,
            facts.metadata.get("box_order"),
            channels_first=layout == "NCHW",
        )
        self.classes = ClassList(_numbered(own, self.plan) if own else _default_names(self.plan))
        self.recipe = _recipe(base, self.plan.head, declared)

    def detect(self, image: Image.Image, wanted: Wanted) -> list[Prediction]:
        """Return the objects in an upright picture, most confident first.

        Raises:
            ValueError: the outputs do not fit the model's shapes.
        """
        tensor, placement = prepare(image, self.recipe)
        arrays = self._run({self._facts.input_name: tensor})
        outputs = dict(zip(self._facts.outputs, arrays, strict=True))
        size = (self.recipe.width, self.recipe.height)
        found = heads.decode(self.plan, outputs, size, wanted.confidence)
        return self._select(found, placement, wanted)

    def _select(
        self, found: heads.Candidates, placement: Placement, wanted: Wanted
    ) -> list[Prediction]:
        # Boxes are cut at the edge first: parts in the padding would count as overlap.
        boxes, ids = placement.to_source(found.boxes), self.classes.ids(found.classes)
        chosen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (ids >= 0)
        if wanted.classes is not None:
            chosen &= np.isin(ids, list(wanted.classes))
        boxes, scores, classes = boxes[chosen], found.scores[chosen], ids[chosen]
        kept = non_maximum_suppression(boxes, scores, classes, wanted.iou, wanted.limit)
        return [
            Prediction(self.classes.name(class_id), class_id, min(score, 1.0), tuple(box))
            for class_id, score, box in zip(
                classes[kept].tolist(), scores[kept].tolist(), boxes[kept].tolist(), strict=True
            )
        ]

    def _probe(self, recipe: InputRecipe) -> dict[str, tuple[int, ...]]:
        """Return the output shapes, found by running a grey picture: the file leaves them open."""
        grey = Image.new("RGB", (recipe.width, recipe.height), (PAD, PAD, PAD))
        whole = replace(recipe, span=255.0)
        arrays = self._run({self._facts.input_name: prepare(grey, whole)[0]})
        return {name: array.shape for name, array in zip(self._facts.outputs, arrays, strict=True)}


def _input_size(facts: ModelFacts, declared: ModelInput | None) -> tuple[tuple[int, int], str]:
    """Return the input's (width, height) and axis order."""
    shape = facts.input_shape
    if len(shape) != 4:
        raise heads.UnknownHead(f"input {facts.input_name} {list(shape)} is not one picture")
    layout, width, height = picture_axes(shape, declared.layout if declared else "nchw")
    if width is not None and height is not None:
        size = (width, height)
    elif declared is not None and declared.size is not None:
        size = declared.size
    else:
        size = _exported_size(facts.metadata.get("imgsz", ""))
    return size, layout.upper()


def _exported_size(text: str) -> tuple[int, int]:
    """Parse the metadata `imgsz`, "[height, width]" or "side", into (width, height)."""
    try:
        value = ast.literal_eval(text) if text else DEFAULT_SIZE
        sides = list(value) if isinstance(value, list | tuple) else [value, value]
        return int(sides[1]), int(sides[0])
    except (SyntaxError, ValueError, TypeError, IndexError) as error:
        raise heads.UnknownHead(f"`imgsz` in the metadata is not a size: {text!r}") from error


def _numbered(own: Mapping[int, str], plan: heads.HeadPlan) -> Mapping[int, str]:
    """Return the metadata's names by the numbers that the head gives."""
    if plan.head in (heads.Head.FINISHED, heads.Head.SSD_FINISHED):
        return own
    # Columns of scores are counted from 0, whatever number the names begin with.
    first = min(own)
    consecutive = sorted(own) == list(range(first, first + len(own)))
    return {number - first: name for number, name in own.items()} if consecutive else own


def _default_names(plan: heads.HeadPlan) -> Mapping[int, str]:
    if plan.head is heads.Head.SSD_FINISHED:
        return labels.COCO_90
    return labels.coco_names(plan.classes or 80)


def _recipe(base: InputRecipe, head: heads.Head, declared: ModelInput | None) -> InputRecipe:
    """Return the recipe of the manifest entry, completed by that of the family."""
    match head:
        case heads.Head.YOLOX:
            recipe = replace(base, fit="corner", channels="BGR", span=255.0)
        case heads.Head.SSD | heads.Head.SSD_FINISHED:
            # TensorFlow's graphs scale the pixels themselves, torchvision's take 0 to 1.
            span = 255.0 if base.layout == "NHWC" else 1.0
            recipe = replace(base, fit="stretch", span=span)
        case _:
            recipe = base
    if not base.dtype.startswith("float"):
        return replace(recipe, span=255.0)
    written = declared.written() if declared else {}
    if "channels" in written:
        recipe = replace(recipe, channels=written["channels"].upper())
    if "scale" in written:
        recipe = replace(recipe, span=255.0 if written["scale"] == "none" else 1.0)
    if "mean" in written:
        recipe = replace(recipe, mean=written["mean"], std=written["std"])
    return recipe
