"""`imagemill models` as a user sees it: what is printed, what lies on disk, the exit status."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest

from imagemill.cli.prepare import ensure_models
from imagemill.cli.services import SOME_MODELS
from imagemill.local.errors import LocalError
from processor.models.fetch.cli import main
from processor.models.loader import ModelLoader
from processor.models.manifest import UrlSource, render
from processor.models.store import ModelStore
from tests.support.models import brightness_entry, brightness_model, counting_model
from tests.unit.processor.models.fetch.model_server import serving

DATA = brightness_model()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEMILL_HOME", str(tmp_path))
    monkeypatch.delenv("IMAGEMILL_MODELS", raising=False)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def known(home: Path, url: str) -> None:
    """Make `brightness` a model that can be fetched from there."""
    entry = brightness_entry(DATA, sources=(UrlSource(kind="url", url=url),))
    (home / "brightness.toml").write_text(render(entry))


def test_list_shows_what_is_here(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "u2netp.onnx").touch()
    assert main(["list"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["u2netp"][2] == "yes"
    assert lines["u2net"][2] == "no"
    assert "AGPL-3.0" in lines["yolov5n"]


def test_fetch_brings_the_file_and_prepares_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(DATA) as server:
        known(home, server.url)
        assert main(["fetch", "brightness"]) == 0
    assert (home / "brightness.onnx").read_bytes() == DATA
    assert len(list((home / "prepared").glob("brightness-*.onnx"))) == 1
    assert str(home / "brightness.onnx") in capsys.readouterr().out


def test_fetch_of_a_wrong_file_fails_and_says_why(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(b"wrong") as server:
        known(home, server.url)
        assert main(["fetch", "brightness"]) == 1
    assert "gave sha256" in capsys.readouterr().err
    assert not (home / "brightness.onnx").exists()


def test_fetch_of_an_unknown_name_fails_before_anything_is_fetched(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "nonesuch"]) == 1
    assert "unknown: nonesuch" in capsys.readouterr().err


def test_fetch_needs_to_know_what(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 1
    assert "--default" in capsys.readouterr().err


def test_verify_tells_good_from_corrupt(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known(home, "https://example.org/brightness.onnx")
    (home / "brightness.onnx").write_bytes(DATA)
    assert main(["verify"]) == 0
    assert hashlib.sha256(DATA).hexdigest() in capsys.readouterr().out
    (home / "brightness.onnx").write_bytes(DATA[:-1])
    assert main(["verify"]) == 1
    assert "imagemill models fetch brightness" in capsys.readouterr().err
    (home / "brightness.toml").write_text(render(brightness_entry(DATA)))
    assert main(["verify"]) == 1
    assert "`imagemill models add FILE --name brightness --task remove-background`" in (
        capsys.readouterr().err
    )


def test_verify_of_a_named_model_that_is_missing_fails(home: Path) -> None:
    assert main(["verify"]) == 0
    assert main(["verify", "u2netp"]) == 1


def test_an_added_model_is_listed_verified_and_kept(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(DATA)
    command = ["add", str(mine), "--task", "remove-background", "--size", "32x32"]
    assert main([*command, "--mean", "0.1,0.2,0.3", "--default"]) == 0
    mine.unlink()
    assert main(["verify", "mine"]) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    [row] = [row for row in capsys.readouterr().out.splitlines() if row.startswith("mine ")]
    assert row.split()[1:4] == ["remove-background", "yes", "yes"]


def test_an_entry_has_only_what_was_written(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(DATA)
    command = ["add", str(mine), "--task", "remove-background"]
    for options, written in [
        ([], None),
        (["--size", "32x16"], {"size": [32, 16]}),
        (["--scale", "255", "--channels", "rgb"], {"scale": "255", "channels": "rgb"}),
        (["--mean", "0.5,0.5,0.5"], {"mean": [0.5, 0.5, 0.5]}),
    ]:
        assert main([*command, *options]) == 0
        entry = tomllib.loads((home / "mine.toml").read_text())["models"]["mine"]
        assert entry.get("input") == written


def test_weights_that_lie_beside_a_model_are_put_inside(home: Path, tmp_path: Path) -> None:
    mine = with_weights_beside(tmp_path)
    assert main(["add", str(mine), "--task", "count"]) == 0
    (tmp_path / "mine.data").unlink()
    assert main(["verify", "mine"]) == 0
    session = ModelLoader(ModelStore(home)).session("mine")
    pixels = np.zeros((1, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(session.run(pixels), [[1, 0]])


@pytest.mark.parametrize(
    ("data_bytes", "reason"),
    [(None, "mine.data, which is not there"), (3 << 30, "one ONNX file holds less than")],
)
def test_a_model_whose_weights_cannot_be_put_inside_is_not_added(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    data_bytes: int | None,
    reason: str,
) -> None:
    mine = with_weights_beside(tmp_path)
    data = tmp_path / "mine.data"
    if data_bytes is None:
        data.unlink()
    else:
        os.truncate(data, data_bytes)  # a sparse file: it takes no room
    assert main(["add", str(mine), "--task", "count"]) == 1
    assert reason in capsys.readouterr().err
    assert list(home.iterdir()) == []


def with_weights_beside(folder: Path) -> Path:
    """A model that keeps its constants in `mine.data`."""
    model = onnx.load_model_from_string(counting_model())
    for tensor in model.graph.initializer:
        # Only weights that are raw bytes go outside.
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    path = folder / "mine.onnx"
    onnx.save(model, path, save_as_external_data=True, location="mine.data", size_threshold=0)
    return path


def test_an_added_model_can_be_replaced(home: Path, tmp_path: Path) -> None:
    for size in (32, 16):
        (tmp_path / "mine.onnx").write_bytes(brightness_model(size))
        assert main(["add", str(tmp_path / "mine.onnx"), "--task", "remove-background"]) == 0
    assert (home / "mine.onnx").read_bytes() == brightness_model(16)
    assert main(["verify", "mine"]) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--task", "t", "--name", "u2netp"], "built-in"),
        (["--task", "t", "--name", "../x"], "name"),
        (["--task", "t", "--size", "wide"], "input.size"),
        (["--task", "t", "--mean", "1,2"], "input.mean"),
    ],
)
def test_a_model_is_not_added_under_wrong_options(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    (tmp_path / "mine.onnx").write_bytes(DATA)
    assert main(["add", str(tmp_path / "mine.onnx"), *options]) == 1
    assert reason in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_file_that_is_no_model_is_not_added(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.onnx").write_bytes(b"\x89PNG")
    assert main(["add", str(tmp_path / "cat.onnx"), "--task", "t"]) == 1
    assert "not a model that can be run" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_broken_manifest_file_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "mine.toml").write_text("[models.a\n")
    assert main(["list"]) == 1
    assert "mine.toml is not TOML" in capsys.readouterr().err


def test_where_a_default_cannot_be_had_the_others_are_fetched_and_the_exit_status_tells(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(home))
    with serving(DATA) as server, serving(b"") as refusing:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", refusing.url)
        refusing.statuses = [404] * 4
        sources = (UrlSource(kind="url", url=server.url),)
        entry = brightness_entry(DATA, "u2netp", default=True, sources=sources)
        (home / "u2netp.toml").write_text(render(entry))
        assert main(["fetch", "--default"]) == SOME_MODELS
        assert (home / "u2netp.onnx").read_bytes() == DATA
        assert "ssdlite_mobilenet_v2 could not be fetched" in capsys.readouterr().err
        assert main(["fetch", "ssdlite_mobilenet_v2"]) == 1
        ensure_models(some=True)
        assert "goes on with the models that are here" in capsys.readouterr().out
        with pytest.raises(LocalError, match="could not be fetched"):
            ensure_models()
