"""Arguments of the client's commands: params, times, and what is refused with status 2."""

from __future__ import annotations

import argparse
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagemill.cli import main
from imagemill.cli.client.connection import UsageError, params_of
from imagemill.cli.client.results import parse_since


def parsed(*params: str, whole: str | None = None) -> dict[str, object]:
    return params_of(argparse.Namespace(param=list(params), params=whole))


def test_a_param_is_json_or_else_text(tmp_path: Path) -> None:
    assert parsed("width=800", "crop=true", "format=webp", "background_color=[1,2,3]") == {
        "width": 800,
        "crop": True,
        "format": "webp",
        "background_color": [1, 2, 3],
    }
    assert parsed("find=a=b") == {"find": "a=b"}


def test_params_come_from_json_or_a_file_and_single_ones_win(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"quality": 80, "format": "webp"}')
    assert parsed("quality=90", whole=f"@{file}") == {"quality": 90, "format": "webp"}
    assert parsed(whole='{"crop": true}') == {"crop": True}


@pytest.mark.parametrize("param", ["width", "=5"])
def test_a_param_without_name_or_value_is_refused(param: str) -> None:
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parsed(param)


@pytest.mark.parametrize("whole", ["[1]", "{", "@/missing.json"])
def test_params_that_are_no_object_are_refused(whole: str) -> None:
    with pytest.raises(UsageError):
        parsed(whole=whole)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, 1_000_000_000_000),
        ("90s", 999_999_910_000),
        ("2h", 999_992_800_000),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
    ],
)
def test_a_time_or_a_span_before_now(text: str | None, expected: int) -> None:
    assert parse_since(text, 1_000_000_000.0) == expected


@pytest.mark.parametrize("text", ["", "soon", "5x", "h", "-3h", "2026-13-01T00:00:00Z"])
def test_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="15m"):
        parse_since(text, 0.0)


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An address where something listens: usage is judged before any request."""
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("IMAGEMILL_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    yield
    server.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "missing.jpg"], "no such file"),
        (["run", "a.jpg", "b.jpg"], "-o FOLDER"),
        (["run", ".", "-o", "-"], "-o FOLDER"),
        (["run", "empty", "-o", "out"], "no image in empty"),
        (["run", "a.jpg", "--op", "transform", "-a"], "--param for transform"),
        (["run", "a.jpg", "--param", "x"], "NAME=VALUE"),
        (["run", "a.jpg", "--watch"], "--watch needs a folder"),
        (["run", "a.jpg", "-j", "0"], "--jobs"),
        (["run", "-", "a.jpg", "-o", "out"], "give it alone"),
        (["submit", "a.jpg", "--op", "noop", "--template", "t"], "not both"),
        (["list", "--limit", "0"], "--limit"),
        (["top", "--delay", "0"], "--delay"),
        (["results", "tail", "--since", "soon"], "15m"),
        (["get", "x", "--url", "localhost:80"], "no URL of an API"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    words: list[str], said: str, listening: None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty").mkdir()
    assert main(words) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("imagemill: ") and said in complaint
    assert len(complaint.strip().splitlines()) == 1


def test_without_a_running_system_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMAGEMILL_URL", "http://127.0.0.1:1")
    assert main(["stats"]) == 1
    assert "imagemill up" in capsys.readouterr().err


def test_without_an_input_a_terminal_is_asked_for_one(
    listening: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    assert main(["run"]) == 2
    assert "pipe an image in" in capsys.readouterr().err
