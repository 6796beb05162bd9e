"""A member comes out of a wheel through the user's own pip, and nothing is installed."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from processor.models.fetch.packages import PackageError, from_pypi
from processor.models.manifest import PypiSource


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with zipfile.ZipFile(folder / "tiny_models-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_models/m.onnx", b"weights")
        wheel.writestr(
            "tiny_models-1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-models\nVersion: 1.2\n",
        )
        wheel.writestr("tiny_models-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_models-1.2.dist-info/RECORD", "")
    return folder


def pypi(version: str = "1.2", member: str = "tiny_models/m.onnx") -> PypiSource:
    return PypiSource(kind="pypi", package="tiny-models", version=version, member=member)


def test_a_file_comes_out_of_a_wheel(index: Path) -> None:
    assert from_pypi(pypi()) == b"weights"


def test_a_missing_member_is_named(index: Path) -> None:
    with pytest.raises(PackageError, match=r"tiny_models-1\.2.*has no other\.onnx"):
        from_pypi(pypi(member="other.onnx"))


def test_pips_own_reason_is_passed_on(index: Path) -> None:
    with pytest.raises(PackageError, match=r"pip download failed.*tiny-models==9"):
        from_pypi(pypi(version="9"))


def test_source_archives_are_never_run(index: Path) -> None:
    """A package that has only an sdist would run its setup.py to be downloaded."""
    (index / "tiny_models-1.2-py3-none-any.whl").unlink()
    with tarfile.open(index / "tiny_models-1.2.tar.gz", "w:gz") as archive:
        code = f"open({str(index / 'ran')!r}, 'w')".encode()
        member = tarfile.TarInfo("tiny_models-1.2/setup.py")
        member.size = len(code)
        archive.addfile(member, io.BytesIO(code))
    with pytest.raises(PackageError):
        from_pypi(pypi())
    assert not (index / "ran").exists()
