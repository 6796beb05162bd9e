"""Run a loaded model for one picture, or in one call for the pictures of a batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imagemill.operations import OperationError, UsedModel
from processor.models import batching, runtime
from processor.models.manifest import picture_axes
from schemas.errors import ErrorCode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from processor.models.manifest import ModelEntry, ModelInput

log = logging.getLogger(__name__)

Feeds = Mapping[str, "NDArray[Any]"]
Outputs = Sequence["NDArray[Any]"]


class Session:
    """A loaded model; results name it as `used`, and run() returns its output named `output`."""

    def __init__(
        self,
        entry: ModelEntry,
        used: UsedModel,
        inference: runtime.RuntimeSession,
        output: str,
        batch_sizes: tuple[int, ...] = (1,),
    ) -> None:
        """`batch_sizes` are the numbers of pictures a call may have, rising; (1,) never batches."""
        self.entry = entry
        self.used = used
        self.inference = inference
        self.output = output
        self._sizes = batch_sizes
        # An OpenVINO request runs one inference at a time.
        self._lock = threading.Lock()

    @property
    def batches(self) -> bool:
        """True if one call may have several pictures."""
        return self._sizes[-1] > 1

    def recipe(self, family: ModelInput) -> ModelInput:
        """Return how a picture becomes the input: by the file, else the entry, else `family`."""
        recipe = family
        if self.entry.input is not None:
            recipe = recipe.model_copy(update=self.entry.input.written())
        shape = self.inference.get_inputs()[0].shape
        if len(shape) != 4:
            return recipe
        layout, width, height = picture_axes(shape, recipe.layout)
        size = (width, height) if width and height else recipe.size
        return recipe.model_copy(update={"layout": layout, "size": size})

    def run(self, tensor: NDArray[np.float32]) -> NDArray[Any]:
        """Return the output named `output` for the model's one input.

        Raises:
            OperationError: the runtime failed (model_failed).
        """
        return self._run(self.output, {self.inference.get_inputs()[0].name: tensor})[0]

    def run_all(self, feeds: Feeds) -> Outputs:
        """Return every output, in the model's order, for named inputs.

        Raises:
            OperationError: the runtime failed (model_failed).
        """
        return self._run(None, feeds)

    def warm(self) -> None:
        """Run each batch size once on zeros, the largest first, if the input's shape is fixed.

        Raises:
            OperationError: the runtime failed (model_failed).
        """
        [picture, *others] = self.inference.get_inputs()
        if others or picture.type != "tensor(float)":
            return
        if not all(isinstance(size, int) for size in picture.shape[1:]):
            return
        # TensorRT rebuilds its engine when a size exceeds those seen so far: largest first.
        for size in reversed(self._sizes):
            zeros = np.zeros((size, *picture.shape[1:]), np.float32)
            self._infer(self.output, {picture.name: zeros})

    def _run(self, output: str | None, feeds: Feeds) -> Outputs:
        barrier = batching.current()
        if (
            barrier is None
            or not self.batches
            or any(one.shape[:1] != (1,) for one in feeds.values())
        ):
            return self._infer(output, feeds)
        shapes = tuple((name, one.shape, one.dtype.str) for name, one in feeds.items())
        return barrier.ask(
            (id(self), output, shapes), lambda many: self._answer(output, many), feeds
        )

    def _infer(self, output: str | None, feeds: Feeds) -> Outputs:
        try:
            with self._lock:
                return self.inference.run(None if output is None else [output], feeds)
        except runtime.ERRORS as error:
            reason = f"{self.entry.name} failed on {self.used.provider}: {error}"
            raise OperationError(ErrorCode.MODEL_FAILED, reason) from error

    def _answer(self, output: str | None, many: Sequence[Feeds]) -> list[Outputs | Exception]:
        """Return each picture's outputs; if the joint call fails, from a call for each."""
        reason: Exception | None = None
        if 1 < len(many) <= self._sizes[-1]:
            try:
                return list(self._infer_together(output, many))
            except (OperationError, MemoryError, ValueError) as error:
                reason = error
        answers = [self._attempt(output, feeds) for feeds in many]
        if reason is not None and not any(isinstance(answer, Exception) for answer in answers):
            log.warning("%s takes one picture a call from now on: %s", self.entry.name, reason)
            self._sizes = (1,)
        return answers

    def _attempt(self, output: str | None, feeds: Feeds) -> Outputs | Exception:
        try:
            return self._infer(output, feeds)
        except (OperationError, MemoryError) as error:
            return error

    def _infer_together(self, output: str | None, many: Sequence[Feeds]) -> list[Outputs]:
        """Compute all in one call.

        Raises:
            ValueError: an output does not have one row per picture.
        """
        size = next(size for size in self._sizes if size >= len(many))
        filled = [*many, *[many[-1]] * (size - len(many))]
        joined = {name: np.concatenate([one[name] for one in filled]) for name in many[0]}
        outputs = self._infer(output, joined)
        if any(one.shape[:1] != (size,) for one in outputs):
            shapes = ", ".join(str(list(one.shape)) for one in outputs)
            raise ValueError(f"{size} pictures gave outputs of shape {shapes}")
        return [[one[row : row + 1] for one in outputs] for row in range(len(many))]
