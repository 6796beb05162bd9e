"""Where model files lie, and whether the file found there is the one the manifest means."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from processor.models.manifest import Manifest, ManifestFile, ModelEntry, files, load
from schemas.workers import KnownModel

if TYPE_CHECKING:
    from imagemill.settings import ProcessorSettings


class ModelMissing(LookupError):
    """No folder has the model's file."""


class ModelCorrupt(ValueError):
    """A file has the model's name and other content."""


@dataclass(frozen=True)
class ModelFile:
    """A verified file; `sha256` is that of its content."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class ModelStore:
    """The folders of model files: `local` (IMAGEMILL_MODELS) first, then `home`, which is ours.

    Only `home` is ever written to.
    """

    home: Path
    local: Path | None = None

    @classmethod
    def of(cls, settings: ProcessorSettings) -> ModelStore:
        """The folders that the processor's settings name."""
        return cls(settings.home / "models", settings.models_dir)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that exist, the first looked in first."""
        both = (self.local, self.home)
        return tuple(folder for folder in both if folder is not None and folder.is_dir())

    def manifest(self) -> Manifest:
        """The built-in manifest with what the folders add; the local one has the last word.

        Raises:
            ManifestError: a file in one of them does not parse.
        """
        return load(*reversed(self.folders))

    def manifest_files(self) -> tuple[ManifestFile, ...]:
        """What manifest() would read; another answer than before means to read it again."""
        return files(*reversed(self.folders))

    def has(self, entry: ModelEntry) -> bool:
        """Whether a folder has a file of the model's name, right or wrong."""
        return any((folder / entry.file_name).is_file() for folder in self.folders)

    def default(self, manifest: Manifest, task: str) -> ModelEntry | None:
        """The task's default: the last one in the manifest whose file is here, else the last."""
        entries = manifest.defaults(task)[::-1]
        return next(filter(self.has, entries), next(iter(entries), None))

    def known(self) -> tuple[KnownModel, ...]:
        """What the manifest lists, and whether its files are here; one default a task at most.

        Raises:
            ManifestError: as manifest().
        """
        manifest = self.manifest()
        return tuple(
            KnownModel(
                name=entry.name,
                task=entry.task,
                summary=entry.summary,
                licence=entry.licence,
                default=entry is self.default(manifest, entry.task),
                here=self.has(entry),
                precisions=entry.precisions,
            )
            for entry in manifest.models.values()
        )

    def resolve(self, entry: ModelEntry) -> ModelFile:
        """The model's file with its checksum verified.

        A wrong file in the local folder does not hide a right one in the home.

        Raises:
            ModelCorrupt: the only files of that name have other content.
            ModelMissing: no folder has one.
        """
        wrong: list[str] = []
        for folder in self.folders:
            path = folder / entry.file_name
            if not path.is_file():
                continue
            digest = sha256_of(path)
            if digest in entry.sha256:
                return ModelFile(path, digest)
            wrong.append(f"{path} has sha256 {digest}, not {' or '.join(entry.sha256)}")
        if wrong:
            raise ModelCorrupt("; ".join(wrong))
        raise ModelMissing(f"no file {entry.file_name} in {self.describe()}")

    def describe(self) -> str:
        """The folders, for messages."""
        both = (self.local, self.home)
        return " or ".join(str(folder) for folder in both if folder is not None)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Hold the model's lock across processes, so that two fetches do not write one file."""
        folder = self.home / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def partial(self, name: str) -> Path:
        """Where a download of that model lies while it is incomplete."""
        return self.home / "partial" / f"{name}.part"

    def prepared(self, entry: ModelEntry, sha256: str, variant: str) -> Path:
        """Where a verified file's rewrite is kept, without ending; it changes with the file."""
        return self.home / "prepared" / f"{entry.name}-{sha256[:16]}-{variant}"


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write the file whole or not at all, whatever else writes it at the same time.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files of the owner alone; services may run as another user.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
