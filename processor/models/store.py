"""The folders of model files, and the check of a file against its manifest entry."""

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
    """The model's file is in no folder."""


class ModelCorrupt(ValueError):
    """The file of the model's name has another sha256."""


@dataclass(frozen=True)
class ModelFile:
    """A verified file and the sha256 of its content, in hex."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class ModelStore:
    """The folders of model files: `local` (IMAGEMILL_MODELS) first, then `home`.

    Only `home` is written to.
    """

    home: Path
    local: Path | None = None

    @classmethod
    def of(cls, settings: ProcessorSettings) -> ModelStore:
        """Return the store of the folders that the processor's settings name."""
        return cls(settings.home / "models", settings.models_dir)

    @property
    def folders(self) -> tuple[Path, ...]:
        """The existing folders, in the order in which they are searched."""
        both = (self.local, self.home)
        return tuple(folder for folder in both if folder is not None and folder.is_dir())

    def manifest(self) -> Manifest:
        """Read the built-in manifest and the folders' entries; the local folder's win.

        Raises:
            ManifestError: a file in one of them does not parse.
        """
        return load(*reversed(self.folders))

    def manifest_files(self) -> tuple[ManifestFile, ...]:
        """List the files that manifest() reads; a changed list means to read them again."""
        return files(*reversed(self.folders))

    def has(self, entry: ModelEntry) -> bool:
        """Return True if a folder has a file of the model's name; its sum is not checked."""
        return any((folder / entry.file_name).is_file() for folder in self.folders)

    def default(self, manifest: Manifest, task: str) -> ModelEntry | None:
        """Return the task's last default whose file is here, else its last default."""
        entries = manifest.defaults(task)[::-1]
        return next(filter(self.has, entries), next(iter(entries), None))

    def known(self) -> tuple[KnownModel, ...]:
        """Describe every model of the manifest; at most one per task is the default.

        Raises:
            ManifestError: a manifest file does not parse.
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
        """Return the model's file after a check of its sha256.

        A wrong file in the local folder does not hide a right one in the home folder.

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
        """Return the folders as text for messages."""
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
        """Return the path of an incomplete download of that model."""
        return self.home / "partial" / f"{name}.part"

    def prepared(self, entry: ModelEntry, sha256: str, variant: str) -> Path:
        """Return the path, without extension, of a rewrite of the file with that sha256."""
        return self.home / "prepared" / f"{entry.name}-{sha256[:16]}-{variant}"


def sha256_of(path: Path) -> str:
    """Compute the file's sha256, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write the file whole or not at all, also with concurrent writers.

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
        # mkstemp creates files with mode 0600, and services may run as another user.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
