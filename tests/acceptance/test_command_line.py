"""The command line on the running system, as a person and as a script use it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.support.system import ROOT, System
from tests.support.waiting import wait_until

Cli = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def cli(system: System, tmp_path: Path) -> Cli:
    """Run `imagemill` in the test's folder."""

    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "imagemill", *words],
            cwd=tmp_path,
            env=system.environ | {"IMAGEMILL_URL": system.url, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=120,
            **options,
        )

    return run


@pytest.fixture
def photo(photos: Path, tmp_path: Path) -> Path:
    with Image.open(photos / "astronaut.png") as image:
        image.convert("RGB").resize((256, 256)).save(tmp_path / "x.jpg")
    return tmp_path / "x.jpg"


def is_cut_out(path: Path) -> bool:
    with Image.open(path) as cut:
        alpha = cut.convert("RGBA").getchannel("A")
        return alpha.getpixel((250, 120)) < 30 and alpha.getpixel((115, 70)) > 220


def test_a_photo_is_cut_out(cli: Cli, photo: Path) -> None:
    done = cli("run", "x.jpg", "-o", "y.webp")
    assert done.returncode == 0, done.stderr
    with Image.open(photo.with_name("y.webp")) as made:
        assert made.format == "WEBP"
    assert is_cut_out(photo.with_name("y.webp"))


def test_without_an_output_it_is_written_beside_the_photo(cli: Cli, photo: Path) -> None:
    done = cli("run", "x.jpg")
    assert done.stdout.decode().strip() == "x-remove-background.png"
    assert is_cut_out(photo.with_name("x-remove-background.png"))


def test_a_pipe_in_is_a_pipe_out(cli: Cli, photo: Path) -> None:
    done = cli("run", input=photo.read_bytes())
    assert done.returncode == 0, done.stderr
    made = photo.with_name("piped.png")
    made.write_bytes(done.stdout)
    assert is_cut_out(made)


def test_rembg_flags_mean_what_they_mean_in_rembg(cli: Cli, photo: Path) -> None:
    done = cli(
        "run", "-m", "u2netp", "-ppm", "-bgc", "0", "255", "0", "255", "x.jpg", "-o", "y.png"
    )
    assert done.returncode == 0, done.stderr
    with Image.open(photo.with_name("y.png")) as made:
        assert made.convert("RGB").getpixel((250, 120)) == (0, 255, 0)
    cli("run", "-om", "x.jpg", "-o", "mask.png")
    with Image.open(photo.with_name("mask.png")) as mask:
        assert mask.mode == "L"


def test_data_is_printed_or_written(cli: Cli, photo: Path) -> None:
    printed = json.loads(cli("run", "x.jpg", "--op", "detect-objects").stdout)
    assert any(each["class"] == "person" for each in printed["predictions"])
    assert cli("run", "x.jpg", "--op", "detect-objects", "-o", "found.json").returncode == 0
    assert json.loads(photo.with_name("found.json").read_text()) == printed


def test_a_folder_is_mirrored_its_failures_told_and_resumed(
    cli: Cli, photo: Path, tmp_path: Path
) -> None:
    for name in ("in/a.jpg", "in/deep/er/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    words = ("run", "in", "-o", "out", "--op", "transform", "--param", "format=webp")
    done = cli(*words, "--json")
    assert done.returncode == 1
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert {fact["image"]: "error" in fact for fact in facts} == {
        "in/a.jpg": False, "in/deep/er/b.jpg": False, "in/broken.png": True,
    }  # fmt: skip
    made = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["out/a.webp", "out/deep/er/b.webp"]
    (tmp_path / "in/broken.png").unlink()
    (tmp_path / "out/a.webp").unlink()
    again = cli(*words, "--json", "--resume")
    assert again.returncode == 0
    assert [json.loads(line)["image"] for line in again.stdout.splitlines()] == ["in/a.jpg"]


def test_a_watched_folder_is_processed_as_pictures_come(
    system: System, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    watching = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "imagemill",
            "run",
            "in",
            "-o",
            "out",
            "--watch",
            "--op",
            "transform",
        ],
        cwd=tmp_path,
        env=system.environ | {"IMAGEMILL_URL": system.url, "PYTHONPATH": str(ROOT)},
    )
    try:
        (tmp_path / "in/first.jpg").write_bytes(photo.read_bytes())
        wait_until(lambda: (tmp_path / "out/first.jpg").exists(), timeout_s=60)
        (tmp_path / "in/second.jpg").write_bytes(photo.read_bytes())
        wait_until(lambda: (tmp_path / "out/second.jpg").exists(), timeout_s=60)
    finally:
        watching.send_signal(2)
    assert watching.wait(30) == 0


def test_a_job_is_submitted_awaited_listed_and_downloaded(
    cli: Cli, photo: Path, tmp_path: Path
) -> None:
    sent = cli("submit", "x.jpg", "x.jpg", "--op", "transform", "--param", "format=png")
    job_id = sent.stdout.decode().strip()
    waited = cli("wait", job_id)
    assert waited.returncode == 0, (waited.stdout, waited.stderr)
    shown = json.loads(cli("get", job_id, "--json").stdout)
    assert (shown["id"], shown["status"]) == (job_id, "succeeded")
    assert job_id in cli("list", "--op", "transform").stdout.decode()
    fetched = cli("download", job_id, "-o", "results")
    assert fetched.returncode == 0, fetched.stderr
    assert len(list((tmp_path / "results").iterdir())) == 2
    ended = cli("cancel", job_id)
    assert (ended.returncode, b"ended" in ended.stderr) == (2, True)
    missing = cli("get", "00000000-0000-0000-0000-000000000000")
    assert missing.returncode == 2


def test_statistics_and_the_live_view_show_the_workers(cli: Cli) -> None:
    assert b"slots busy" in cli("stats").stdout
    assert json.loads(cli("stats", "--json").stdout)["workers"]["alive"] == 1
    view = cli("top", "-n", "1").stdout.decode()
    assert "Queues" in view and "Workers" in view


def test_results_come_straight_from_the_topic(cli: Cli, photo: Path) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    job_id = cli("submit", "x.jpg", "--op", "transform").stdout.decode().strip()
    cli("wait", job_id)
    tail = cli("results", "tail", "--since", since, "--op", "transform", "--no-follow")
    found = [json.loads(line) for line in tail.stdout.splitlines()]
    assert job_id in {each["job_id"] for each in found}
    none = cli("results", "tail", "--since", since, "--op", "read-text", "--no-follow")
    assert (none.returncode, none.stdout) == (0, b"")


def test_the_doctor_finds_nothing_on_a_healthy_system(cli: Cli) -> None:
    done = cli("doctor", "--json")
    assert done.stdout, done.stderr.decode()
    found = {each["check"]: each for each in json.loads(done.stdout)}
    states = {name: each["state"] for name, each in found.items() if name != "ports"}
    assert set(states.values()) == {"ok"}, found
    assert {"broker", "topics", "acls", "store", "models", "clock", "disk", "python"} <= set(states)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_that_shell(cli: Cli, shell: str) -> None:
    done = cli("completion", shell)
    assert done.returncode == 0 and b"imagemill" in done.stdout
