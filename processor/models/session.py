"""A loaded model as operations use it: alone, or asked once for several pictures at a meeting."""

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
    """A loaded model; `used` is how results name it, `output` what run() asks for."""

    def __init__(
        self,
        entry: ModelEntry,
        used: UsedModel,
        inference: runtime.Inference,
        output: str,
        batch_sizes: tuple[int, ...] = (1,),
    ) -> None:
        """`batch_sizes`: how many pictures one call may have, rising; (1,) is no batching."""
        self.entry = entry
        self.used = used
        self.inference = inference
        self.output = output
        self._sizes = batch_sizes
        # An OpenVINO request does one inference at a time; the others lose nothing by it.
        self._lock = threading.Lock()

    @property
    def batches(self) -> bool:
        """Whether one call may have several pictures."""
        return self._sizes[-1] > 1

    def recipe(self, family: ModelInput) -> ModelInput:
        """How it wants a picture: as its file fixes, else its entry says, else its family does."""
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
        """The one asked-for output for the model's one input.

        Raises:
            OperationError: the runtime failed (model_failed).
        """
        return self._run(self.output, {self.inference.get_inputs()[0].name: tensor})[0]

    def run_all(self, feeds: Feeds) -> Outputs:
        """Every output, in the model's order, for named inputs; errors as run()."""
        return self._run(None, feeds)

    def warm(self) -> None:
        """Run each batch size once on zeros, the largest first; not where a shape is open.

        Raises:
            OperationError: the runtime failed (model_failed).
        """
        [picture, *others] = self.inference.get_inputs()
        if others or picture.type != "tensor(float)":
            return
        if not all(isinstance(size, int) for size in picture.shape[1:]):
            return
        # TensorRT builds for the range of sizes it has seen: the largest first saves rebuilding.
        for size in reversed(self._sizes):
            zeros = np.zeros((size, *picture.shape[1:]), np.float32)
            self._infer(self.output, {picture.name: zeros})

    def _run(self, output: str | None, feeds: Feeds) -> Outputs:
        here = batching.current()
        if here is None or not self.batches or any(one.shape[:1] != (1,) for one in feeds.values()):
            return self._infer(output, feeds)
        shapes = tuple((name, one.shape, one.dtype.str) for name, one in feeds.items())
        return here.put((id(self), output, shapes), lambda many: self._ask(output, many), feeds)

    def _infer(self, output: str | None, feeds: Feeds) -> Outputs:
        try:
            with self._lock:
                return self.inference.run(None if output is None else [output], feeds)
        except runtime.ERRORS as error:
            reason = f"{self.entry.name} failed on {self.used.provider}: {error}"
            raise OperationError(ErrorCode.MODEL_FAILED, reason) from error

    def _ask(self, output: str | None, many: Sequence[Feeds]) -> list[Outputs | Exception]:
        """The outputs of each picture; where the batch fails, those of each alone."""
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
        """One call for all.

        Raises:
            ValueError: an output has not one row a picture.
        """
        size = next(size for size in self._sizes if size >= len(many))
        filled = [*many, *[many[-1]] * (size - len(many))]
        joined = {name: np.concatenate([one[name] for one in filled]) for name in many[0]}
        outputs = self._infer(output, joined)
        if any(one.shape[:1] != (size,) for one in outputs):
            shapes = ", ".join(str(list(one.shape)) for one in outputs)
            raise ValueError(f"{size} pictures gave outputs of shape {shapes}")
        return [[one[row : row + 1] for one in outputs] for row in range(len(many))]
