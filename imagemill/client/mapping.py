"""The outcome of one image of many, as `map` of both clients yields them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imagemill.client.documents import Result
from imagemill.client.errors import ImagemillError
from imagemill.client.images import Image

# Called after each image with the images that are done, and those begun so far.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """The end of one image: its result, or the error instead.

    Attributes:
        index: place of the image among those given, counted from 0.
        image: the image as it was given.
        result: its result; None if it failed.
        error: the reason; None if it has a result.
    """

    index: int
    image: Image
    result: Result | None
    error: ImagemillError | OSError | None
