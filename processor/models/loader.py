"""Load a model once per process, from a verified file, on the provider that the settings choose."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from imagemill.operations import OperationError, UsedModel
from processor.models import providers, runtime
from processor.models.convert import prepare
from processor.models.manifest import Manifest, ManifestError, ModelEntry
from processor.models.session import Session
from processor.models.store import ModelCorrupt, ModelFile, ModelMissing, ModelStore
from schemas.errors import ErrorCode
from schemas.workers import KnownModel

if TYPE_CHECKING:
    from imagemill.settings import ProcessorSettings

log = logging.getLogger(__name__)

Precision = Literal["exact", "balanced", "fast"]


class ModelLoader:
    """The models of one inference process, each loaded at most once.

    Create it in the process that uses it: sessions do not survive a fork.
    """

    def __init__(
        self,
        store: ModelStore,
        *,
        providers: str = "",
        precision: Precision = "exact",
        threads: int = 1,
        batch_size: int | None = None,
    ) -> None:
        """Take the settings `providers`, `precision` and `batch_size`, and `threads` per inference.

        Raises:
            ManifestError: a manifest file in one of the folders does not parse.
        """
        self._store = store
        self._manifest_files = store.manifest_files()
        self._manifest = store.manifest()
        self._provider_setting = providers
        self._precision: Precision = precision
        self._threads = threads
        self._batch_size = batch_size
        self._sessions: dict[tuple[str, str], Session] = {}
        # The items of a batch run in threads: the first one loads a model, the others wait.
        self._loading = threading.Lock()

    @classmethod
    def from_settings(cls, settings: ProcessorSettings) -> ModelLoader:
        """Create the loader that the processor's settings describe."""
        return cls(
            ModelStore.of(settings),
            providers=settings.execution_providers,
            precision=settings.precision,
            batch_size=settings.batch_size,
        )

    @property
    def manifest(self) -> Manifest:
        """Every known model, fetched or not; read again when a manifest file has changed."""
        files = self._store.manifest_files()
        if files != self._manifest_files:
            try:
                self._manifest = self._store.manifest()
            except ManifestError as error:
                log.warning("the manifest is not read again, earlier models stay known: %s", error)
            # Last: a thread that sees the new files must see their manifest too.
            self._manifest_files = files
        return self._manifest

    def known(self) -> tuple[KnownModel, ...]:
        """Return the store's models, with the precisions that this worker can compute in.

        Raises:
            ManifestError: a manifest file in one of the folders does not parse.
        """
        runs = [name for name in get_args(Precision) if self._refusal(name) is None]
        return tuple(
            one.model_copy(update={"precisions": tuple(p for p in one.precisions if p in runs)})
            for one in self._store.known()
        )

    def default(self, task: str) -> str:
        """Return the name of the task's default model: the last default whose file is here.

        Raises:
            OperationError: the manifest has no default for it (model_unavailable).
        """
        entry = self._store.default(self.manifest, task)
        if entry is None:
            raise _unavailable(f"no model is the default of {task}; name one in `model`")
        return entry.name

    def session(
        self, name: str, *, precision: Precision | None = None, task: str | None = None
    ) -> Session:
        """Return the loaded model; load it at the first call, and when its entry has changed.

        `precision` None takes the worker's setting, or exact where the model does not have it.
        `task`, when given, must be the model's.

        Raises:
            OperationError: no such model of that task, or not in that precision (params_invalid);
                its file is missing or corrupt, or this worker cannot run it
                (model_unavailable).
        """
        entry = self._entry(name, task)
        chosen = self._choose_precision(entry, precision)
        key = (name, chosen)
        with self._loading:
            session = self._sessions.get(key)
            if session is None or session.entry != entry:
                session = self._sessions[key] = self._load(entry, chosen)
            return session

    @property
    def batch_limit(self) -> int:
        """The most items that may share a call on the provider of the loaded models.

        Raises:
            OperationError: no model is loaded, and none of the providers in the setting is
                installed (model_unavailable).
        """
        loaded = next(iter(self._sessions.values()), None)
        provider = loaded.used.provider if loaded else self._provider()
        return providers.batch_limit(self._batch_size, provider)

    def batches(self, used: Iterable[UsedModel]) -> bool:
        """Return True if one of these loaded models takes several pictures in a call."""
        names = set(used)
        return any(one.batches and one.used in names for one in tuple(self._sessions.values()))

    def file(self, name: str, *, task: str | None = None) -> ModelFile:
        """Return the model's verified file, for a library that loads it itself.

        Raises:
            OperationError: no such model of that task (params_invalid); its file is missing or
                corrupt (model_unavailable).
        """
        entry = self._entry(name, task)
        try:
            return self._store.resolve(entry)
        except (ModelMissing, ModelCorrupt, OSError) as error:
            raise _unavailable(f"{error}; {entry.remedy}") from error

    def _entry(self, name: str, task: str | None) -> ModelEntry:
        entry = self.manifest.find(name)
        if entry is None or task not in (None, entry.task):
            raise OperationError(ErrorCode.PARAMS_INVALID, self._unknown(name, task))
        return entry

    def _unknown(self, name: str, task: str | None) -> str:
        names = [e.name for e in self._manifest.models.values() if task in (None, e.task)]
        kind = f"{task} model" if task else "model"
        return f"no {kind} is called {name!r}; known are {', '.join(sorted(names))}"

    def _choose_precision(self, entry: ModelEntry, asked: Precision | None) -> Precision:
        wanted = asked or self._precision
        if wanted not in entry.precisions:
            if asked is None:
                return "exact"
            offered = ", ".join(entry.precisions)
            raise OperationError(
                ErrorCode.PARAMS_INVALID, f"{entry.name} has no precision {asked!r}, only {offered}"
            )
        if (reason := self._refusal(wanted)) is not None:
            raise _unavailable(reason)
        return wanted

    def _refusal(self, precision: Precision) -> str | None:
        """Return the reason why this worker cannot compute in that precision, or None."""
        if precision == "exact":
            return None
        if not providers.has_bfloat16():
            flags = " or ".join(sorted(providers.BF16_FLAGS))
            return (
                f"precision {precision} needs a CPU with bfloat16 ({flags}), "
                "which this worker's CPU lacks; use precision exact"
            )
        try:
            provider = self._provider()
        except OperationError as error:
            return str(error)
        if provider != "openvino":
            return (
                f"precision {precision} needs the openvino execution provider, and this worker "
                f"runs {provider}; use precision exact"
            )
        if precision == "balanced" and not runtime.reads_ir():
            return (
                "precision balanced needs the Python package openvino, which is not installed "
                "here; use precision exact or fast"
            )
        return None

    def _provider(self) -> str:
        return self._providers()[0]

    def _providers(self) -> tuple[str, ...]:
        try:
            return runtime.available(self._provider_setting)
        except providers.ProviderError as error:
            raise _unavailable(str(error)) from error

    def _load(self, entry: ModelEntry, precision: Precision) -> Session:
        provider = self._provider()
        try:
            file = self._store.resolve(entry)
            path = prepare.prepared(entry, file, precision, self._store)
        except (ModelMissing, ModelCorrupt, prepare.PrepareError, OSError) as error:
            raise _unavailable(f"{error}; {entry.remedy}") from error
        inference = self._open(entry, file, path, precision)
        actual = providers.short_name(inference.get_providers()[0])
        if actual != provider:
            # onnxruntime falls back to its next provider when one does not start.
            log.warning("%s runs on %s: %s did not start", entry.name, actual, provider)
        sizes = (1,)
        if (limit := providers.batch_limit(self._batch_size, actual)) > 1:
            try:
                inference = self._with_open_batch(entry, file, precision, inference)
                sizes = providers.batch_sizes(actual, limit)
            except (prepare.PrepareError, OSError) as error:
                log.warning("%s takes one picture a call: %s", entry.name, error)
        log.info("Loaded %s (%s) on %s, %d a call", entry.name, precision, actual, sizes[-1])
        used = UsedModel(entry.name, file.sha256, actual, precision)
        output = entry.output or inference.get_outputs()[0].name
        session = Session(entry, used, inference, output, sizes)
        if session.batches and providers.tunes_shapes(actual):
            session.warm()
        return session

    def _with_open_batch(
        self,
        entry: ModelEntry,
        file: ModelFile,
        precision: Precision,
        inference: runtime.RuntimeSession,
    ) -> runtime.RuntimeSession:
        """Return the session if its batch dimension is open, else one of a copy where it is.

        Raises:
            PrepareError: the model gives other results with several pictures.
            OSError: the copy cannot be written.
            OperationError: the copy cannot be loaded (model_unavailable).
        """
        if runtime.has_open_batch(inference):
            return inference
        if precision != "exact":
            raise prepare.PrepareError(f"precision {precision} is prepared for one")
        path = prepare.batched(entry, file, self._store)
        return self._open(entry, file, path, precision)

    def _open(
        self, entry: ModelEntry, file: ModelFile, path: Path, precision: Precision
    ) -> runtime.RuntimeSession:
        names = self._providers()
        engines = self._store.prepared(entry, file.sha256, "tensorrt") / path.stem
        try:
            return runtime.open_session(path, names, precision, self._threads, engines)
        except (*runtime.ERRORS, OSError) as error:
            raise _unavailable(
                f"{entry.name} cannot be loaded from {path}: {error}; {entry.remedy}"
            ) from error


def _unavailable(message: str) -> OperationError:
    return OperationError(ErrorCode.MODEL_UNAVAILABLE, message)
