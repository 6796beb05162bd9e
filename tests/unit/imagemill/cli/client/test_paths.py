"""Images that a run reads, and the files that their results go to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagemill.cli.client.connection import UsageError
from imagemill.cli.client.paths import Arrivals, Source, Targets, sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", ".git/d.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def below(inputs: list[str], out: Path | None = None) -> list[str]:
    return [str(each.below) for each in sources(inputs, out=out)]


def test_a_folder_is_searched_for_images_and_its_subfolders_are_mirrored(folder: Path) -> None:
    assert below([str(folder)]) == ["a.jpg", "b.PNG", "sub/c.webp"]


def test_a_glob_that_the_shell_left_alone_is_expanded(folder: Path) -> None:
    assert below([f"{folder}/*.jpg"]) == ["a.jpg"]
    assert below([f"{folder}/**/*.webp"]) == ["c.webp"]


def test_a_file_with_a_glob_in_its_name_is_that_file(folder: Path) -> None:
    (folder / "[1].jpg").write_bytes(b"x")
    assert below([f"{folder}/[1].jpg"]) == ["[1].jpg"]


def test_an_image_named_twice_is_taken_once(folder: Path) -> None:
    assert below([f"{folder}/a.jpg", f"{folder}/a.jpg"]) == ["a.jpg"]


def test_the_output_folder_is_no_input(folder: Path) -> None:
    out = folder / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"x")
    assert below([str(folder)], out) == ["a.jpg", "b.PNG", "sub/c.webp"]


def test_a_url_has_the_name_at_its_end(tmp_path: Path) -> None:
    assert below(["https://example.org/x/photo.jpg?size=9", "https://example.org/"]) == [
        "photo.jpg",
        "example.org",
    ]


@pytest.mark.parametrize("given", ["missing.jpg", "missing/*.jpg"])
def test_an_input_that_names_nothing_is_an_error(tmp_path: Path, given: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        below([str(tmp_path / given)])


def test_two_images_of_one_stem_get_two_results(tmp_path: Path) -> None:
    targets = Targets(tmp_path)
    first, second = Source("in/a.jpg", Path("a.jpg")), Source("in/a.png", Path("a.png"))
    assert targets.stem(first) == tmp_path / "a"
    assert targets.stem(second) == tmp_path / "a.png"
    assert targets.stem(first) == tmp_path / "a"


def test_a_result_that_is_older_than_its_image_is_not_done(tmp_path: Path) -> None:
    image, result = tmp_path / "a.jpg", tmp_path / "out" / "a.webp"
    image.write_bytes(b"x")
    source, targets = Source(str(image), Path("a.jpg")), Targets(tmp_path / "out")
    assert not targets.done(source)
    result.parent.mkdir()
    result.write_bytes(b"y")
    assert targets.done(source)
    os.utime(result, (1, 1))
    assert not targets.done(source)


def test_an_image_that_is_still_copied_is_not_taken_and_a_changed_one_is_again(
    tmp_path: Path,
) -> None:
    image, arrivals = tmp_path / "in" / "a.jpg", Arrivals([str(tmp_path / "in")], tmp_path / "out")
    image.parent.mkdir()
    assert arrivals.look() == []
    image.write_bytes(b"half")
    assert arrivals.look() == []
    image.write_bytes(b"whole picture")
    assert arrivals.look() == []
    assert [each.image for each in arrivals.look()] == [str(image)]
    assert arrivals.look() == []
    os.utime(image, (1, 1))
    assert [each.image for each in arrivals.look()] == [str(image)]
