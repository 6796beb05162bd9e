"""Class lists: COCO's numberings, the names in a model's metadata, and the ids of results."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

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

# By COCO's published category ids: 80 of the numbers 1 to 90.
COCO_90: Mapping[int, str] = {
    number: name for number, name in enumerate(_COCO_91.split(",")) if number and name != "-"
}
# By index, as most detectors trained on COCO number the 80 classes.
COCO_80: Mapping[int, str] = dict(enumerate(COCO_90.values()))
_COCO_81: Mapping[int, str] = dict(enumerate(COCO_90.values(), start=1))


def parse_names(text: str) -> dict[int, str]:
    """Parse the `names` metadata of YOLO exporters: a Python list, or a dict by class number.

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
    """Return the COCO names by the numbers of a model of so many classes; empty for others."""
    return {80: COCO_80, 81: _COCO_81, 90: COCO_90, 91: COCO_90}.get(count, {})


class ClassList:
    """The classes of a model, numbered from 0 in results whatever its outputs number them by."""

    def __init__(self, names: Mapping[int, str]) -> None:
        """Take the names by the model's own numbers; empty where they are not known."""
        self.names = tuple(names[number] for number in sorted(names))
        self._ids = {number: index for index, number in enumerate(sorted(names))}
        self._largest = max(names, default=-1)

    def ids(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class ids of the model's numbers, -1 for a number that names no class.

        The latter are the gaps in COCO's 1 to 90. A number beyond the list is its own id.
        """
        found = {int(number): self._id(int(number)) for number in np.unique(numbers)}
        return np.array([found[int(number)] for number in numbers], dtype=np.int64)

    def _id(self, number: int) -> int:
        return self._ids.get(number, number if number > self._largest else -1)

    def name(self, class_id: int) -> str:
        """Return the class's name, or a stand-in if it is not known."""
        return self.names[class_id] if class_id < len(self.names) else f"class {class_id}"

    def find(self, wanted: Sequence[str]) -> frozenset[int]:
        """Return the ids of the classes of these names, in any case.

        Raises:
            LookupError: the model has no such class; the message lists those it has.
        """
        folded = [name.casefold() for name in self.names]
        unknown = [name for name in wanted if name.casefold() not in folded]
        if unknown:
            listed = ", ".join(self.names) or "numbers without names"
            raise LookupError(f"the model has no class {', '.join(unknown)}; it has {listed}")
        chosen = {name.casefold() for name in wanted}
        return frozenset(index for index, name in enumerate(folded) if name in chosen)
