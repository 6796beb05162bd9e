"""The public face for operations: their spec, what they get, give back and raise.

A package that brings an operation imports this module and nothing else of imagemill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from schemas.base import Strict
from schemas.errors import ErrorCode, JobError
from schemas.operations import NoParams, OperationSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "EncodeOptions",
    "ErrorCode",
    "ModelFile",
    "ModelSession",
    "Models",
    "NoParams",
    "OperationError",
    "OperationSpec",
    "Output",
    "RunContext",
    "SourceInfo",
    "Strict",
    "UsedModel",
]


class OperationError(Exception):
    """An item failed for a reason its sender or operator can act on.

    `permanent` forbids the retries that errors of this code get otherwise.
    """

    def __init__(self, code: ErrorCode, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.error = JobError.of(code, message)


@dataclass(frozen=True)
class SourceInfo:
    """Facts of the input file that decoding loses.

    `size` is (width, height) in pixels of the upright image. The first operation gets it `shrunk`
    times smaller (1, 2, 4 or 8) where it has said that this will do.
    """

    format: str
    size: tuple[int, int]
    bytes: int
    icc_profile: bytes | None = None
    exif: bytes | None = None
    filename: str | None = None
    shrunk: int = 1


@dataclass(frozen=True)
class UsedModel:
    """A model that took part in a result, as the terminal event names it."""

    name: str
    sha256: str
    provider: str
    precision: str = "exact"


class ModelSession(Protocol):
    """A loaded model; `used` is how a result names it."""

    used: UsedModel

    def run(self, tensor: NDArray[np.float32]) -> NDArray[Any]:
        """Return the model's output for its one input.

        Raises:
            OperationError: the runtime failed (model_failed).
        """

    def run_all(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Return every output, in the model's order, for named inputs.

        Raises:
            OperationError: the runtime failed (model_failed).
        """


class ModelFile(Protocol):
    """A model's verified file; `sha256` is the hex digest of its bytes."""

    name: str
    path: Path
    sha256: str


class Models(Protocol):
    """The models of this worker, by the names of its manifest."""

    def default(self, task: str) -> str:
        """Return the name of the task's default model.

        Raises:
            OperationError: the task has none here (model_unavailable).
        """

    def session(
        self, name: str, *, precision: str | None = None, task: str | None = None
    ) -> ModelSession:
        """Return the loaded model; the first call loads it.

        Raises:
            OperationError: unknown, another task's or another precision (params_invalid);
                missing, corrupt, or not for this CPU (model_unavailable).
        """

    def file(self, name: str, *, task: str | None = None) -> ModelFile:
        """Return the model's file, for a library that loads it itself.

        Raises:
            OperationError: unknown or another task's (params_invalid); missing or corrupt
                (model_unavailable).
        """


@dataclass
class RunContext:
    """The models and facts that an operation may use beside its image; one per item."""

    models: Models
    source: SourceInfo
    max_pixels: int
    used_models: list[UsedModel] = field(default_factory=list)


@dataclass(frozen=True)
class EncodeOptions:
    """The encoding of the result picture; None means the encoder's choice for the picture.

    `format` is one of png, webp, jpeg, tiff, gif, bmp; None keeps PNG for pictures with alpha and
    the source's format otherwise. `quality` is 1 to 100 (jpeg, webp, avif). `is_mask` says that the
    values are no colours: the source's colour profile is neither written nor applied to them.
    """

    format: str | None = None
    quality: int | None = None
    png_level: int = 1
    strip_metadata: bool = False
    is_mask: bool = False


@dataclass
class Output:
    """The result of an operation: a picture, JSON data, or both."""

    image: Image.Image | None = None
    data: dict[str, Any] | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
