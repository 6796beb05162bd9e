"""Run one item in an inference process: fetch, decode, run, encode, store."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from PIL import Image
from pydantic import BaseModel, ValidationError

from imagemill.images.check import ImageLimits
from imagemill.images.formats import FORMATS
from imagemill.net.addresses import AddressPolicy
from imagemill.net.errors import UrlRefused
from imagemill.net.fetch import FetchLimits, UrlFetcher
from imagemill.net.guard import UrlGuard
from imagemill.operations import (
    EncodeOptions,
    OperationError,
    Output,
    RunContext,
    SourceInfo,
    UsedModel,
)
from imagemill.settings import ProcessorSettings
from imagemill.storage import (
    ObjectNotFound,
    StoreUnavailable,
    open_object_urls,
    open_store,
    result_key,
)
from processor.imaging.decoding import WantedSize, decode
from processor.imaging.encoding import encode
from processor.models.batching import BatchBarrier
from processor.models.loader import ModelLoader
from processor.run.operation_loader import load_hook, load_run
from schemas.catalog import find_operation
from schemas.errors import ErrorCode, JobError
from schemas.operations import OperationSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemTask:
    """One item: `steps` are (operation, params); its image is at `key` of the store or at `url`."""

    job_id: str
    index: int
    steps: tuple[tuple[str, dict[str, Any]], ...]
    key: str | None = None
    url: str | None = None
    filename: str | None = None


@dataclass
class ItemOutcome:
    """The outcome of one item: `result` and `model` as in the terminal event, or `error`.

    `timings_ms` has the milliseconds of fetch, infer (decoding and encoding included) and store.
    """

    result: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    error: JobError | None = None
    permanent: bool = False
    """The error allows no retry, although its code does."""
    batches: bool = False
    """A model that it used takes several pictures in a call, so run_items() is worth its while."""


class _Clock:
    """Measures the time of each stage, in milliseconds."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[name] = round((time.perf_counter() - start) * 1000, 1)


class ItemProcessor:
    """Runs items, and keeps between them the store, the models and the URL guard."""

    def __init__(self, settings: ProcessorSettings) -> None:
        self._store = open_store(settings)
        self._object_urls = open_object_urls(settings, self._store)
        self.models = ModelLoader.from_settings(settings)
        self._limits = ImageLimits(
            max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels
        )
        self._urls = UrlFetcher(
            UrlGuard(AddressPolicy.parse(settings.url_allow)),
            FetchLimits(max_bytes=settings.max_image_bytes, total_s=settings.url_timeout_s),
        )

    def close(self) -> None:
        """Close the connections to servers of images; no item may run."""
        self._urls.close()

    def warm(self) -> None:
        """Load the default model and run it once, so that the first job pays for neither."""
        spec, params = _step("remove-background", {})
        picture = Image.new("RGB", (64, 64))
        source = SourceInfo(format="png", size=picture.size, bytes=0)
        try:
            load_run(spec)(picture, params, RunContext(self.models, source, 64 * 64))
        except OperationError as error:
            # Jobs that need the model fail with its error; the others can be served.
            log.warning("the default model is not loaded: %s", error)

    def run_item(self, task: ItemTask) -> ItemOutcome:
        """Run one item. Never raises: any failure is an outcome with an error."""
        clock = _Clock()
        try:
            outcome = self._run(task, clock)
        except OperationError as error:
            outcome = ItemOutcome(error=error.error, permanent=error.permanent)
        except MemoryError:
            message = "The image needs more memory than an item may use; scale it down."
            outcome = ItemOutcome(error=JobError.of(ErrorCode.OUT_OF_MEMORY, message))
        except StoreUnavailable as error:
            outcome = ItemOutcome(error=JobError.of(ErrorCode.STORE_UNAVAILABLE, str(error)))
        # SystemExit of a plugin's operation included: passed on, it would end the process.
        except BaseException as error:
            log.exception("item %d of job %s", task.index, task.job_id)
            message = f"The operation failed unexpectedly ({type(error).__name__})."
            outcome = ItemOutcome(error=JobError.of(ErrorCode.INTERNAL, message))
        outcome.timings_ms = clock.timings_ms
        return outcome

    def run_items(self, tasks: Sequence[ItemTask]) -> list[ItemOutcome]:
        """Run items side by side, each as run_item() does, and join their model calls.

        Decoding and encoding run in parallel: Pillow releases the GIL meanwhile.
        """
        if len(tasks) == 1:
            return [self.run_item(tasks[0])]
        barrier = BatchBarrier(len(tasks))
        unknown = JobError.of(ErrorCode.INTERNAL, "The item's thread ended without an outcome.")
        outcomes = [ItemOutcome(error=unknown)] * len(tasks)

        def run(place: int) -> None:
            with barrier.attended():
                outcomes[place] = self.run_item(tasks[place])

        threads = [threading.Thread(target=run, args=[place]) for place in range(len(tasks))]
        started: list[threading.Thread] = []
        for place, thread in enumerate(threads):
            try:
                thread.start()
            except RuntimeError as error:
                barrier.leave()
                message = f"No thread can be started: {error}"
                outcomes[place] = ItemOutcome(error=JobError.of(ErrorCode.OUT_OF_MEMORY, message))
            else:
                started.append(thread)
        for thread in started:
            thread.join()
        return outcomes

    @property
    def batch_limit(self) -> int:
        """The most items that run_items() should get."""
        try:
            return self.models.batch_limit
        except OperationError as error:
            log.warning("items are run one by one: %s", error)
            return 1

    def _run(self, task: ItemTask, clock: _Clock) -> ItemOutcome:
        steps = [_step(name, params) for name, params in task.steps]
        if all(spec.inputs == "none" for spec, _ in steps):
            outputs = [load_run(spec)(None, params, None) for spec, params in steps]
            return ItemOutcome(result={"data": _merged(steps, outputs)})
        with clock.stage("fetch"):
            file = self._open(task)
        with file, clock.stage("infer"):
            image, source = decode(file, task.filename, self._limits, _wanted_size(steps))
            context = RunContext(self.models, source, self._limits.max_pixels)
            outputs = []
            for spec, params in steps:
                output = load_run(spec)(image, params, context)
                image = output.image if output.image is not None else image
                outputs.append(output)
                # Only the first operation has agreed to a shrunk picture.
                context.source = replace(source, shrunk=1)
            pictured = any(output.image is not None for output in outputs)
            encoded = encode(image, _combined(outputs), source) if pictured else None
        result: dict[str, Any] = {"data": _merged(steps, outputs)}
        if encoded is not None:
            with clock.stage("store"):
                result |= self._store_result(task, *encoded)
            result |= {"width": image.width, "height": image.height}
        used = context.used_models
        return ItemOutcome(result=result, model=_described(used), batches=self.models.batches(used))

    def _open(self, task: ItemTask) -> BinaryIO:
        if task.key is not None:
            try:
                return io.BytesIO(self._store.get(task.key))
            except ObjectNotFound as error:
                message = "The uploaded image is no longer in the store; send it again."
                raise OperationError(ErrorCode.IMAGE_MISSING, message) from error
        if task.url is None:
            raise OperationError(ErrorCode.IMAGE_MISSING, "The item has no image.")
        try:
            return self._urls.fetch(task.url).file
        except UrlRefused as error:
            raise OperationError(error.code, str(error), permanent=not error.transient) from error

    def _store_result(self, task: ItemTask, data: bytes, format_name: str) -> dict[str, Any]:
        known = FORMATS[format_name]
        key = result_key(task.job_id, task.index, known.extension)
        # Guarantee 3: stored before this outcome becomes the fact that ends the item.
        stored = self._store.put(key, data, known.content_type)
        return {
            "key": key,
            "url": self._object_urls.sign(key, known.content_type),
            "content_type": known.content_type,
            "bytes": stored.bytes,
            "sha256": stored.sha256,
        }


def _step(name: str, params: dict[str, Any]) -> tuple[OperationSpec, BaseModel]:
    spec = find_operation(name)
    if spec is None:
        raise OperationError(
            ErrorCode.OPERATION_UNKNOWN, f"This worker does not know the operation {name!r}."
        )
    try:
        return spec, spec.params.model_validate(params)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "params"
        raise OperationError(ErrorCode.PARAMS_INVALID, f"{where}: {first['msg']}") from error


def _wanted_size(steps: list[tuple[OperationSpec, BaseModel]]) -> WantedSize | None:
    """Return the first operation's hook for the size it needs, if it has one."""
    spec, params = steps[0]
    hook = load_hook(spec, "wanted_size")
    return (lambda size: hook(params, size)) if hook else None


def _combined(outputs: list[Output]) -> EncodeOptions:
    """Combine the encode options of all steps, which write one file.

    Metadata is stripped if any step asked for it; format and quality are those of the last step
    that named one.
    """
    asked = [output.encode for output in outputs]
    format_name = quality = None
    for options in asked:
        format_name = options.format or format_name
        quality = options.quality or quality
    return EncodeOptions(
        format=format_name,
        quality=quality,
        png_level=max(options.png_level for options in asked),
        strip_metadata=any(options.strip_metadata for options in asked),
        is_mask=any(options.is_mask for options in asked),
    )


def _merged(
    steps: list[tuple[OperationSpec, BaseModel]], outputs: list[Output]
) -> dict[str, Any] | None:
    """Return one step's data as it is, or that of several steps by the name of their operation.

    An operation that occurs more than once gets a list with an entry per occurrence.
    """
    if len(outputs) == 1:
        return outputs[0].data
    made: dict[str, list[dict[str, Any] | None]] = {}
    for (spec, _), output in zip(steps, outputs, strict=True):
        made.setdefault(spec.name, []).append(output.data)
    named = {
        name: data if len(data) > 1 else data[0]
        for name, data in made.items()
        if any(one is not None for one in data)
    }
    return named or None


def _described(used: list[UsedModel]) -> dict[str, Any] | None:
    """Describe the models of a result: the first one, and the rest under `others`."""
    described = [
        {
            "name": model.name,
            "sha256": model.sha256,
            "provider": model.provider,
            "precision": model.precision,
        }
        for model in dict.fromkeys(used)
    ]
    if not described:
        return None
    return described[0] | ({"others": described[1:]} if len(described) > 1 else {})
