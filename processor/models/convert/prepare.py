"""The graph that is really loaded for a model and precision, made once from the verified file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from processor.models import cpu
from processor.models.manifest import ModelEntry
from processor.models.store import ModelFile, ModelStore, write_atomic

# Counts up with every change to what is made here, so that older files are not taken.
RECIPE = 1


class PrepareError(ValueError):
    """The file cannot be rewritten for that precision; the message says why."""


def prepared(entry: ModelEntry, file: ModelFile, precision: str, store: ModelStore) -> Path:
    """The path to load: the file itself where nothing is to be changed, else the kept rewrite.

    It is an ONNX file, and for precision "balanced" an OpenVINO IR. Two processes that make it at
    once write the same bytes.

    Raises:
        PrepareError: the graph is not what the manifest says of it.
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
        # Last, so that the sum vouches for whole files only.
        write_atomic(total, _digest(parts).encode())
    return paths[0]


def prepare_all(entry: ModelEntry, file: ModelFile, store: ModelStore) -> None:
    """Make what this machine can load of the model, so that no job waits for it.

    Raises:
        PrepareError: the graph is not what the manifest says of it.
        OSError: a rewrite cannot be written.
    """
    for precision in entry.precisions if cpu.has_bfloat16() else ("exact",):
        prepared(entry, file, precision, store)


def batched(entry: ModelEntry, file: ModelFile, store: ModelStore) -> Path:
    """The path of a copy that takes any number of pictures, of a file that fixes it at one.

    That a model does not allow it is kept too, so that it is tried once a file; a failure to run
    is not, as it may pass.

    Raises:
        PrepareError: its results would not be the same; the message says why.
        OSError: the copy cannot be written.
    """
    stem = store.prepared(entry, file.sha256, f"batched-{RECIPE}")
    path, total, refused = (stem.with_name(stem.name + e) for e in (".onnx", ".sha256", ".refused"))
    if refused.is_file():
        raise PrepareError(refused.read_text("utf-8"))
    if not _intact([path], total):
        from processor.models import runtime
        from processor.models.convert import open_batch, rewrite

        try:
            data = open_batch.open_batch(file.path.read_bytes(), entry.output)
        except rewrite.RewriteError as error:
            write_atomic(refused, str(error).encode())
            raise PrepareError(str(error)) from error
        except (*runtime.ERRORS, MemoryError) as error:
            raise PrepareError(f"two pictures at once could not be tried: {error}") from error
        write_atomic(path, data)
        write_atomic(total, _digest([data]).encode())
    return path


def build(entry: ModelEntry, file: ModelFile, precision: str) -> tuple[bytes, ...]:
    """The content of the rewrite's files: ONNX, or the IR's graph and weights.

    Raises:
        PrepareError: the graph is not what the manifest says of it.
    """
    # They import onnx, which a worker that finds its files prepared never needs.
    from processor.models.convert import openvino_ir, rewrite

    try:
        model = rewrite.only_output(file.path.read_bytes(), entry.output)
        if precision == "balanced":
            ir = openvino_ir.write(rewrite.fix_shapes(model), entry.bf16)
            return ir.xml, ir.weights
        if precision == "fast":
            model = rewrite.centre(rewrite.fix_shapes(model), entry.centre)
        return (model.SerializeToString(deterministic=True),)
    except (rewrite.RewriteError, openvino_ir.UnsupportedGraph) as error:
        raise PrepareError(f"{entry.name} cannot be prepared: {error}") from error


def _intact(paths: list[Path], total: Path) -> bool:
    """Whether the kept rewrite is there with the content it was written with."""
    if not all(path.is_file() for path in (*paths, total)):
        return False
    return total.read_text("ascii") == _digest(path.read_bytes() for path in paths)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
