"""What an operation gets (RunContext), gives back (Output) and raises (OperationError)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.errors import ErrorCode, JobError

if TYPE_CHECKING:
    from PIL import Image

    from processor.models.loader import ModelLoader


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


@dataclass
class RunContext:
    """What an operation may use besides its image; one per item."""

    models: ModelLoader
    source: SourceInfo
    max_pixels: int
    used_models: list[UsedModel] = field(default_factory=list)


@dataclass(frozen=True)
class EncodeOptions:
    """How the result picture is written; None means the encoder's choice for the picture.

    `format` is one of png, webp, jpeg, tiff, gif, bmp; None keeps PNG for pictures with alpha and
    the source's format otherwise. `quality` is 1 to 100 (jpeg, webp).
    """

    format: str | None = None
    quality: int | None = None
    png_level: int = 1
    strip_metadata: bool = False


@dataclass
class Output:
    """What an operation made: a picture, JSON data, or both."""

    image: Image.Image | None = None
    data: dict[str, Any] | None = None
    encode: EncodeOptions = field(default_factory=EncodeOptions)
