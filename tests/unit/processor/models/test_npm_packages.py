"""A member comes out of a package through the user's own npm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

from processor.models.chunks import ChunksError, join
from processor.models.manifest import NpmSource
from processor.models.packages import PackageError, ToolMissing, from_npm


@pytest.fixture
def tarball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What an `npm` on PATH, which records how it was called, packs."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("package/models/m.onnx")
        member.size = len(b"weights")
        archive.addfile(member, io.BytesIO(b"weights"))
    packed = gzip.compress(data.getvalue(), mtime=0)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "packed.tgz").write_bytes(packed)
    script = (
        f"#!{sys.executable}\nimport shutil, sys\n"
        "if sys.argv[1:3] != ['pack', '@me/models@1.0.0']: sys.exit('npm ERR! 404 not found')\n"
        "folder = sys.argv[sys.argv.index('--pack-destination') + 1]\n"
        f"shutil.copy({str(tools / 'packed.tgz')!r}, folder)\n"
    )
    (tools / "npm").write_text(script)
    (tools / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    return packed


def npm(packed: bytes, version: str = "1.0.0", **facts: str) -> NpmSource:
    known = {
        "member": "package/models/m.onnx",
        "archive_sha256": hashlib.sha256(packed).hexdigest(),
    }
    return NpmSource(kind="npm", package="@me/models", version=version, **{**known, **facts})


def test_a_file_comes_out_of_an_npm_package(tarball: bytes) -> None:
    assert from_npm(npm(tarball)) == b"weights"


def test_another_tarball_than_the_pinned_one_is_refused(tarball: bytes) -> None:
    with pytest.raises(PackageError, match=r"has sha256 [0-9a-f]{64}, not 0{64}"):
        from_npm(npm(tarball, archive_sha256="0" * 64))


def test_a_missing_npm_member_is_named(tarball: bytes) -> None:
    with pytest.raises(PackageError, match=r"@me/models 1\.0\.0 has no package/x"):
        from_npm(npm(tarball, member="package/x"))


def test_npms_own_reason_is_passed_on(tarball: bytes) -> None:
    with pytest.raises(PackageError, match=r"npm pack failed.*404 not found"):
        from_npm(npm(tarball, version="2.0.0"))


def test_a_failing_conversion_names_the_package(tarball: bytes) -> None:
    with pytest.raises(PackageError, match=r"@me/models .*not a TensorFlow\.js graph"):
        from_npm(npm(tarball, conversion="tfjs-ssd"))


def test_a_missing_piece_names_the_package(tarball: bytes) -> None:
    with pytest.raises(PackageError, match=r"@me/models 1\.0\.0: the list does not tell"):
        from_npm(npm(tarball, conversion="chunks", resource="/m"))


PIECES = {hashlib.sha256(piece).hexdigest(): piece for piece in (b"wei", b"ghts")}


def listing(size: int = 7) -> bytes:
    chunks = [{"hash": digest} for digest in PIECES]
    return json.dumps({"/m": {"size": size, "chunks": chunks}}).encode()


def test_pieces_are_joined_in_the_order_of_the_list() -> None:
    assert join(listing(), "/m", dict(reversed(PIECES.items()))) == b"weights"


@pytest.mark.parametrize(
    ("listed", "resource", "pieces", "reason"),
    [
        (b"{", "/m", PIECES, "does not tell the pieces of /m"),
        (listing(), "/other", PIECES, "does not tell the pieces of /other"),
        (listing(8), "/m", PIECES, "has 7 bytes, not 8"),
        (listing(), "/m", {}, "missing or damaged"),
        (listing(), "/m", dict.fromkeys(PIECES, b"no"), "missing or damaged"),
    ],
)
def test_what_cannot_be_joined_says_why(
    listed: bytes, resource: str, pieces: dict[str, bytes], reason: str
) -> None:
    with pytest.raises(ChunksError, match=reason):
        join(listed, resource, pieces)


def test_without_npm_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolMissing, match=r"Node\.js"):
        from_npm(npm(b""))
