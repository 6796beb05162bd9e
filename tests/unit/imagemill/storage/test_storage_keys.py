"""Keys: which are refused, and that no accepted one leaves the folder."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagemill.storage import (
    InvalidKey,
    check_key,
    guess_content_type,
    job_of_key,
    result_key,
    result_prefix,
    upload_key,
    upload_prefix,
)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../secret",
        "a/../../secret",
        "a/./b",
        "a//b",
        "a/",
        ".drafts/1",
        "a/.hidden",
        "a\\..\\b",
        "a\x00b",
        "a\nb",
        "a\u2028b",
        "a\x7fb",
        "\ud800",
        "x" * 513,
        "\u00e9" * 257,
        "a/" + "x" * 256,
    ],
)
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidKey):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "uploads/job_1/0", "results/j/0.png", "a b/c..d", "x" * 255])
def test_ordinary_keys_pass_unchanged(key: str) -> None:
    assert check_key(key) == key


# Text made of what paths are made of finds far more odd keys than any text would.
_PATHLIKE = st.text(st.sampled_from("ab./\\~:%\x00\n \u00e9\u202e\ud800"), max_size=24)


@given(_PATHLIKE | st.text(max_size=600))
@example("C:/windows")
@example("..")
def test_an_accepted_key_stays_below_its_folder(key: str) -> None:
    try:
        check_key(key)
    except InvalidKey:
        return
    path = PurePosixPath("/root", key)
    assert path.parts[:2] == ("/", "root")
    assert len(path.parts) == 2 + len(key.split("/"))
    assert not {"..", "."} & set(PureWindowsPath(key).parts)
    assert len(key.encode()) <= 512


def test_the_keys_of_a_job() -> None:
    assert result_key("job-1", 3, "png") == "results/job-1/3.png"
    assert upload_key("job-1", 3).startswith("uploads/")
    assert upload_key("job-1", 3) != upload_key("job-1.3", 3)
    for job_id in ("job-1", "job-1.3", "0123abcd-0000-7000-8000-0123456789ab"):
        keys = [upload_key(job_id, 3), result_key(job_id, 3, "png"), f"{upload_prefix(job_id)}1f-3"]
        assert [job_of_key(key) for key in keys] == [job_id] * 3
        assert keys[0].startswith(upload_prefix(job_id))
        assert keys[1].startswith(result_prefix(job_id))
    with pytest.raises(InvalidKey):
        upload_key("../job", 0)
    with pytest.raises(InvalidKey):
        result_key("../job", 0, "png")


def test_the_uploads_of_many_jobs_share_some_folders() -> None:
    folders = {upload_key(f"job-{number}", 0).rpartition("/")[0] for number in range(10_000)}
    assert 200 < len(folders) <= 256


def test_a_key_of_nobodys_job_is_told_apart_from_every_job() -> None:
    for key in ("cat.jpg", "uploads/cat.jpg", "uploads/a/b", "originals/a.b.jpg"):
        assert not key.startswith((upload_prefix(job_of_key(key)), "results/"))


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("a/0.png", "image/png"),
        ("a/0.JPG", "image/jpeg"),
        ("a/0.json", "application/json"),
        ("a/0", "application/octet-stream"),
    ],
)
def test_the_ending_tells_the_content_type(key: str, content_type: str) -> None:
    assert guess_content_type(key) == content_type
