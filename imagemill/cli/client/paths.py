"""The images that a run reads, and the files that their results go to. No network."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagemill.cli.client.connection import UsageError
from imagemill.client.images import is_url
from imagemill.images.formats import by_extension

STDIO = "-"
# Suffixes that results have, by which a finished one is found again.
RESULT_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".gif", ".tiff", ".avif", ".json")


@dataclass(frozen=True)
class Source:
    """An image to process, and its path below the folder that was named, which is mirrored."""

    image: str
    below: Path


def sources(inputs: Iterable[str], *, out: Path | None) -> Iterator[Source]:
    """Yield the images that the arguments name, folders and globs searched, each once.

    Files of a folder that are no images are left out, and so is the output folder, if it lies in
    one of the inputs.

    Raises:
        UsageError: an argument names nothing.
    """
    seen: set[str] = set()
    for given in inputs:
        for found in _named(given):
            inside = out is not None and _inside(Path(found.image), out)
            if found.image not in seen and not inside:
                seen.add(found.image)
                yield found


def _named(given: str) -> Iterator[Source]:
    if given == STDIO or is_url(given):
        name = "image" if given == STDIO else given.partition("?")[0].rstrip("/").rpartition("/")[2]
        yield Source(given, Path(name or "image"))
    elif os.path.isdir(given):
        yield from _in_folder(Path(given))
    elif os.path.exists(given):
        yield Source(given, Path(Path(given).name))
    else:
        # A glob that the shell left alone: quoted, or on Windows.
        matches = sorted(glob.glob(given, recursive=True)) if glob.has_magic(given) else []
        if not matches:
            raise UsageError(f"{given}: there is no such file or folder.")
        for match in matches:
            if os.path.isdir(match):
                continue
            yield Source(match, Path(Path(match).name))


def _in_folder(folder: Path) -> Iterator[Source]:
    for where, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and by_extension(name) is not None:
                path = Path(where, name)
                yield Source(str(path), path.relative_to(folder))


def _inside(path: Path, folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return path.resolve().is_relative_to(folder.resolve())


class Targets:
    """Gives each source a file of its own in the output folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner: dict[Path, str] = {}

    def stem(self, source: Source) -> Path:
        """Return the path of a source's result without its suffix.

        `a.jpg` and `a.png` of one folder would both become `a.png`, so the later one keeps its
        whole name: `a.png.png`.
        """
        for stem in (source.below.with_suffix(""), source.below):
            if self._owner.setdefault(stem, source.image) == source.image:
                return self._folder / stem
        return self._folder / f"{source.below}-{len(self._owner)}"

    def done(self, source: Source) -> bool:
        """Return True if the source has a result that is newer than itself."""
        stem = self.stem(source)
        try:
            changed = Path(source.image).stat().st_mtime
        except OSError:
            changed = 0.0
        for suffix in RESULT_SUFFIXES:
            result = stem.with_name(stem.name + suffix)
            if result.is_file() and result.stat().st_mtime >= changed:
                return True
        return False


class Arrivals:
    """The images that come into the input folders, each once for every change of it."""

    def __init__(self, inputs: list[str], out: Path) -> None:
        self._inputs = inputs
        self._out = out
        self._taken: dict[str, float] = {}
        self._sizes: dict[str, int] = {}

    def look(self) -> list[Source]:
        """Return the images that are new, or changed, since they were returned last.

        A file is taken once its size has stayed the same from one look to the next: one that is
        being copied grows.
        """
        found = []
        for source in sources(self._inputs, out=self._out):
            try:
                facts = Path(source.image).stat()
            except OSError:
                continue  # deleted since it was listed
            settled = self._sizes.get(source.image) == facts.st_size
            self._sizes[source.image] = facts.st_size
            if settled and self._taken.get(source.image) != facts.st_mtime:
                self._taken[source.image] = facts.st_mtime
                found.append(source)
        return found
