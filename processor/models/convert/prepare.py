"""Prepare the graph that is loaded for a model and precision, once per verified file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from processor.models import providers, runtime
from processor.models.manifest import ModelEntry
from processor.models.store import ModelFile, ModelStore, write_atomic

if TYPE_CHECKING:
    import onnx

# Part of every prepared file's name: raise it with each change of the rewrites.
RECIPE = 2


class PrepareError(ValueError):
    """The file cannot be rewritten; the message gives the reason."""


def prepared(entry: ModelEntry, file: ModelFile, precision: str, store: ModelStore) -> Path:
    """Return the path to load: the file itself if nothing is to be changed, else its rewrite.

    The rewrite is an ONNX file, or an OpenVINO IR for precision "balanced". It is written if it is
    missing; two processes that write it at once write the same bytes.

    Raises:
        PrepareError: the graph does not fit the manifest entry.
        OSError: the rewrite cannot be written.
    """
    if precision == "exact" and entry.output is None:
        return file.path
    stem = store.prepared(entry, file.sha256, f"{precision}-{RECIPE}")
    endings = (".xml", ".bin") if precision == "balanced" else (".onnx",)
    paths = [stem.with_name(stem.name + ending) for ending in endings]
    total = stem.with_name(stem.name + ".sha256")
    if not _intact(paths, total):
        parts = build(entry, file, precision)
        for path, data in zip(paths, parts, strict=True):
            write_atomic(path, data)
        # Last, so that a sum exists for complete files only.
        write_atomic(total, _digest(parts).encode())
    return paths[0]


def prepare_all(entry: ModelEntry, file: ModelFile, store: ModelStore) -> None:
    """Prepare every precision that this machine can run, so that no job waits for it.

    Raises:
        PrepareError: the graph does not fit the manifest entry.
        OSError: a rewrite cannot be written.
    """
    for precision in entry.precisions if providers.has_bfloat16() else ("exact",):
        if precision != "balanced" or runtime.reads_ir():
            prepared(entry, file, precision, store)


def batched(entry: ModelEntry, file: ModelFile, store: ModelStore) -> Path:
    """Return the path of a copy that takes several pictures, of a file that fixes them at one.

    A model whose results would differ is remembered in a .refused file and not tried again. A try
    that fails to run is not remembered, as memory may be free the next time.

    Raises:
        PrepareError: the results would differ, or the try failed; the message gives the reason.
        OSError: the copy cannot be written.
    """
    stem = store.prepared(entry, file.sha256, f"batched-{RECIPE}")
    path, total, refused = (stem.with_name(stem.name + e) for e in (".onnx", ".sha256", ".refused"))
    if refused.is_file():
        raise PrepareError(refused.read_text("utf-8"))
    if not _intact([path], total):
        from processor.models.convert import open_batch, rewrite

        try:
            data = open_batch.with_open_batch(file.path.read_bytes(), entry.output)
        except rewrite.RewriteError as error:
            write_atomic(refused, str(error).encode())
            raise PrepareError(str(error)) from error
        except (*runtime.ERRORS, MemoryError) as error:
            raise PrepareError(f"two pictures at once could not be tried: {error}") from error
        write_atomic(path, data)
        write_atomic(total, _digest([data]).encode())
    return path


def build(entry: ModelEntry, file: ModelFile, precision: str) -> tuple[bytes, ...]:
    """Return the content of the rewrite's files: one ONNX file, or an IR's graph and weights.

    Raises:
        PrepareError: the graph does not fit the manifest entry.
    """
    # Imported here: a worker that finds its files prepared needs neither onnx nor openvino.
    from processor.models.convert import rewrite

    try:
        model = rewrite.only_output(file.path.read_bytes(), entry.output)
        if precision == "balanced":
            return _as_ir(entry, rewrite.fix_shapes(model))
        if precision == "fast":
            model = rewrite.centre(rewrite.fix_shapes(model), entry.centre)
        return (model.SerializeToString(deterministic=True),)
    except rewrite.RewriteError as error:
        raise PrepareError(f"{entry.name} cannot be prepared: {error}") from error


def _as_ir(entry: ModelEntry, model: onnx.ModelProto) -> tuple[bytes, bytes]:
    from processor.models.convert import openvino_ir

    try:
        ir = openvino_ir.write(model, entry.bf16)
    except openvino_ir.UnsupportedGraph as error:
        raise PrepareError(f"{entry.name} cannot be prepared: {error}") from error
    return ir.xml, ir.weights


def _intact(paths: list[Path], total: Path) -> bool:
    """Return True if the rewrite's files are there with the content that was written."""
    if not all(path.is_file() for path in (*paths, total)):
        return False
    return total.read_text("ascii") == _digest(path.read_bytes() for path in paths)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
