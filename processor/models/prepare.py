"""The graph that is really loaded for a model and precision, made once from the verified file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from processor.models.manifest import ModelEntry
from processor.models.store import ModelFile, ModelStore, sha256_of, write_atomic

# Counts up with every change to what rewrite.py makes, so that older files are not taken.
RECIPE = 1


class PrepareError(ValueError):
    """The file cannot be rewritten for that precision; the message says why."""


def prepared(entry: ModelEntry, file: ModelFile, precision: str, store: ModelStore) -> Path:
    """The path to load: the file itself where nothing is to be changed, else the kept rewrite.

    Two processes that make it at once write the same bytes.

    Raises:
        PrepareError: the graph is not what the manifest says of it.
        OSError: the rewrite cannot be written.
    """
    if precision == "exact" and entry.output is None:
        return file.path
    path = store.prepared(entry, file.sha256, f"{precision}-{RECIPE}")
    if not _intact(path):
        data = build(entry, file, precision)
        write_atomic(path, data)
        write_atomic(_sum_of(path), hashlib.sha256(data).hexdigest().encode())
    return path


def _intact(path: Path) -> bool:
    """Whether the kept rewrite is there with the content it was written with."""
    kept = _sum_of(path)
    return path.is_file() and kept.is_file() and kept.read_text("ascii") == sha256_of(path)


def _sum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")


def prepare_all(entry: ModelEntry, file: ModelFile, store: ModelStore) -> None:
    """Make what every precision of the model loads, so that no job waits for it.

    Raises:
        PrepareError: the graph is not what the manifest says of it.
        OSError: a rewrite cannot be written.
    """
    for precision in entry.precisions:
        prepared(entry, file, precision, store)


def build(entry: ModelEntry, file: ModelFile, precision: str) -> bytes:
    """The rewritten graph's bytes.

    Raises:
        PrepareError: the graph is not what the manifest says of it.
    """
    from processor.models import rewrite  # imports onnx, which a worker with kept files never needs

    try:
        model = rewrite.only_output(file.path.read_bytes(), entry.output)
        return model.SerializeToString(deterministic=True)
    except rewrite.RewriteError as error:
        raise PrepareError(f"{entry.name} cannot be prepared: {error}") from error
