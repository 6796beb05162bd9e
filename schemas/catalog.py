"""The table of operations: the built-in ones, and those of installed packages."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from schemas.operations import NoParams, OperationSpec
from schemas.params.detect_objects import DetectObjectsParams
from schemas.params.image_text import ImageTextParams
from schemas.params.read_text import ReadTextParams
from schemas.params.remove_background import RemoveBackgroundParams
from schemas.params.transform import TransformParams

ENTRY_POINT_GROUP = "imagemill.operations"

BUILTIN: tuple[OperationSpec, ...] = (
    OperationSpec(
        "remove-background",
        "Cut the subject out of its background, or return its mask.",
        RemoveBackgroundParams,
        "processor.operations.remove_background:run",
        batch_by=("model", "precision", "alpha_matting", "decontaminate"),
    ),
    OperationSpec(
        "detect-objects",
        "Find objects: class, confidence and box of each, and an annotated picture if asked for.",
        DetectObjectsParams,
        "processor.operations.detect_objects:run",
        batch_by=("model",),
    ),
    OperationSpec(
        "read-text",
        "Read the text in the picture, line by line, and find a text in it.",
        ReadTextParams,
        "processor.operations.read_text:run",
    ),
    OperationSpec(
        "process-image-and-text",
        "Look at a picture and a text together: what each holds, and where one is in the other.",
        ImageTextParams,
        "processor.operations.image_text:run",
    ),
    OperationSpec(
        "transform",
        "Resize, crop, turn, blur and more, step by step, and convert to another format.",
        TransformParams,
        "processor.operations.transform:run",
        batch_by=(),
    ),
    OperationSpec(
        "noop",
        "Do nothing; shows that the system runs, and what it costs.",
        NoParams,
        "processor.operations.noop:run",
        inputs="none",
        inline=True,
    ),
)


@cache
def operations() -> dict[str, OperationSpec]:
    """Return all operations by name: the built-in ones, then those of installed packages.

    Raises:
        ValueError: a package registers a name that is already taken.
    """
    table = {spec.name: spec for spec in BUILTIN}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        spec = point.load()
        if spec.name in table:
            raise ValueError(f"operation {spec.name!r} of {point.value} is already registered")
        table[spec.name] = spec
    return table


def find_operation(name: str) -> OperationSpec | None:
    """Return the operation of that name, None if there is none."""
    return operations().get(name)
