"""Names of classes: the two COCO numberings, and whatever a model file says of its own."""

from __future__ import annotations

import ast
from collections.abc import Mapping

# "-" holds the place of a number that COCO leaves out.
_COCO_91 = (
    "background,person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,"
    "fire hydrant,-,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,"
    "zebra,giraffe,-,backpack,umbrella,-,-,handbag,tie,suitcase,frisbee,skis,snowboard,"
    "sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,-,"
    "wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,"
    "pizza,donut,cake,chair,couch,potted plant,bed,-,dining table,-,-,toilet,-,tv,laptop,mouse,"
    "remote,keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,-,book,clock,vase,"
    "scissors,teddy bear,hair drier,toothbrush"
)

# COCO's published category ids: 80 of the numbers 1 to 90.
COCO_90: Mapping[int, str] = {
    number: name for number, name in enumerate(_COCO_91.split(",")) if number and name != "-"
}
# Detectors trained on the same data mostly number the 80 classes from 0 without gaps.
COCO_80: Mapping[int, str] = dict(enumerate(COCO_90.values()))
_COCO_81: Mapping[int, str] = dict(enumerate(COCO_90.values(), start=1))


def parse_names(text: str) -> dict[int, str]:
    """Class names by number, from the `names` metadata that YOLO exporters write.

    It is the Python text of a list or of a dict.

    Raises:
        ValueError: the text is neither.
    """
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError("`names` in the model's metadata is not a list or dict") from error
    if isinstance(value, list | tuple):
        return {number: str(name) for number, name in enumerate(value)}
    if isinstance(value, dict):
        return {int(number): str(name) for number, name in value.items()}
    raise ValueError("`names` in the model's metadata is not a list or dict")


def coco_names(count: int) -> Mapping[int, str]:
    """The COCO table that a model of so many classes numbers by; empty for other counts."""
    return {80: COCO_80, 81: _COCO_81, 90: COCO_90, 91: COCO_90}.get(count, {})


def label(names: Mapping[int, str], number: int) -> str:
    """The class's name, or a stand-in for a number without one."""
    return names.get(number, f"class {number}")
