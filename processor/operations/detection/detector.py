"""One detector model ready for use: what it wants in, what its outputs mean, its class names."""

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
"""Runs the model on inputs by name; gives every output, in the model's order."""


@dataclass(frozen=True)
class ModelFacts:
    """What the model file says of itself; None in a shape is a dimension left open."""

    input_name: str
    input_shape: tuple[int | None, ...]
    input_dtype: str
    outputs: Mapping[str, tuple[int | None, ...]]
    metadata: Mapping[str, str]


def facts_of(session: InferenceSession) -> ModelFacts:
    """What a loaded onnxruntime session tells of its file.

    Raises:
        heads.UnknownHead: it has not exactly one input, or one of another type than numbers.
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
    # Open dimensions come as None or as the name the exporter gave them.
    return tuple(dim if isinstance(dim, int) and dim > 0 else None for dim in shape)


@dataclass(frozen=True)
class Wanted:
    """Which predictions are asked for; `classes` None means all."""

    confidence: float
    iou: float
    limit: int
    classes: frozenset[int] | None = None


@dataclass(frozen=True)
class Prediction:
    """One object; `box` is x0, y0, x1, y1 in pixels of the upright picture."""

    name: str
    number: int
    confidence: float
    box: tuple[float, float, float, float]


class Detector:
    """A model's recipe, head and names, worked out once from its file and manifest entry."""

    def __init__(self, facts: ModelFacts, declared: ModelInput | None, run: Run) -> None:
        """Raises heads.UnknownHead (a ValueError) for a model that is not a known detector."""
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
        self.names: Mapping[int, str] = own or _default_names(self.plan)
        self.recipe = _recipe(base, self.plan.head, declared)

    def class_numbers(self, wanted: Sequence[str]) -> frozenset[int]:
        """The numbers of these class names, in any case.

        Raises:
            LookupError: the model has no such class; the message lists those it has.
        """
        known = {name.casefold(): number for number, name in self.names.items()}
        unknown = [name for name in wanted if name.casefold() not in known]
        if unknown:
            listed = ", ".join(self.names.values()) or "numbers without names"
            raise LookupError(f"the model has no class {', '.join(unknown)}; it has {listed}")
        return frozenset(known[name.casefold()] for name in wanted)

    def detect(self, image: Image.Image, wanted: Wanted) -> list[Prediction]:
        """The objects in an upright picture, most confident first.

        Raises:
            ValueError: the outputs are not what the model's shapes promised.
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
        boxes = placement.to_source(found.boxes)
        chosen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if wanted.classes is not None:
            chosen &= np.isin(found.classes, list(wanted.classes))
        boxes, scores, classes = boxes[chosen], found.scores[chosen], found.classes[chosen]
        kept = non_maximum_suppression(boxes, scores, classes, wanted.iou, wanted.limit)
        return [
            Prediction(labels.label(self.names, number), number, min(score, 1.0), tuple(box))
            for number, score, box in zip(
                classes[kept].tolist(), scores[kept].tolist(), boxes[kept].tolist(), strict=True
            )
        ]

    def _probe(self, recipe: InputRecipe) -> dict[str, tuple[int, ...]]:
        """The output shapes, by running a grey picture, for files that leave them open."""
        grey = Image.new("RGB", (recipe.width, recipe.height), (PAD, PAD, PAD))
        whole = replace(recipe, span=255.0)
        arrays = self._run({self._facts.input_name: prepare(grey, whole)[0]})
        return {name: array.shape for name, array in zip(self._facts.outputs, arrays, strict=True)}


def _input_size(facts: ModelFacts, declared: ModelInput | None) -> tuple[tuple[int, int], str]:
    """The input's (width, height) and axis order."""
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
    """(width, height) of the exporter's `imgsz` note, "[height, width]" or "side"."""
    try:
        value = ast.literal_eval(text) if text else DEFAULT_SIZE
        sides = list(value) if isinstance(value, list | tuple) else [value, value]
        return int(sides[1]), int(sides[0])
    except (SyntaxError, ValueError, TypeError, IndexError) as error:
        raise heads.UnknownHead(f"`imgsz` in the metadata is not a size: {text!r}") from error


def _default_names(plan: heads.HeadPlan) -> Mapping[int, str]:
    if plan.head is heads.Head.SSD_FINISHED:
        return labels.COCO_90
    return labels.coco_names(plan.classes or 80)


def _recipe(base: InputRecipe, head: heads.Head, declared: ModelInput | None) -> InputRecipe:
    """How the picture is put in: as the manifest entry writes, else as the family has it."""
    match head:
        case heads.Head.YOLOX:
            recipe = replace(base, fit="corner", channels="BGR", span=255.0)
        case heads.Head.SSD | heads.Head.SSD_FINISHED:
            # TensorFlow's graphs scale the channels themselves, torchvision's take 0 to 1.
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
