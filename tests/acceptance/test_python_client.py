"""The Python client on the running system, and every example of its page."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from imagemill.client import AsyncClient, Client, InvalidRequest, NotFound
from tests.acceptance.support.system import ROOT, System

PAGE = ROOT / "docs" / "client.md"
EXAMPLES = re.findall(
    r"^## (.+?)$|^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
)


def _examples() -> list[object]:
    found, section = [], ""
    for heading, code in EXAMPLES:
        section = heading or section
        if code:
            found.append(pytest.param(code, id=f"{section}-{len(found)}".replace(" ", "-")))
    return found


@pytest.fixture
def photo(photos: Path, tmp_path: Path) -> Path:
    """The astronaut as x.jpg, 256 pixels wide."""
    path = tmp_path / "x.jpg"
    with Image.open(photos / "astronaut.png") as image:
        image.convert("RGB").resize((256, 256)).save(path)
    return path


@pytest.mark.parametrize("code", _examples())
def test_an_example_of_the_page_runs_as_it_is(
    system: System, photo: Path, tmp_path: Path, code: str
) -> None:
    environ = system.environ | {"IMAGEMILL_URL": system.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if 'save("y.png")' in code:
        with Image.open(tmp_path / "y.png") as cut:
            assert cut.size == (256, 256)
            # The corner is background, the face is not.
            assert cut.getpixel((250, 120))[3] < 30 and cut.getpixel((115, 70))[3] > 220
    if "cut" in os.listdir(tmp_path):
        assert [path.name for path in (tmp_path / "cut").iterdir()] == ["x.png"]


def test_a_folder_of_pictures_comes_back_whole(system: System, photo: Path, tmp_path: Path) -> None:
    paths = [Path(shutil.copy(photo, tmp_path / f"{n}.jpg")) for n in range(6)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:100])
    with Client(system.url) as client:
        outcomes = list(
            client.map([*paths, broken], "transform", {"steps": [{"do": "resize", "width": 64}]})
        )
    assert len(outcomes) == 7
    for each in outcomes:
        if each.image is broken:
            assert isinstance(each.error, InvalidRequest)
            assert each.error.code == "image_undecodable"
        else:
            assert each.result is not None
            with Image.open(each.result.save(tmp_path / f"{each.index}.out.jpg")) as image:
                assert image.width == 64


def test_a_large_picture_goes_by_an_upload(system: System, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.frombytes("RGB", (1800, 1800), os.urandom(1800 * 1800 * 3)).save(large)
    with Client(system.url) as client:
        made = client.transform(large, steps=[{"do": "resize", "width": 20}])
    assert made.item.filename == "large.png"
    assert made.item.result is not None and made.item.result["width"] == 20


def test_an_unknown_job_is_not_found(system: System) -> None:
    async def ask() -> None:
        async with AsyncClient(system.url) as client:
            await client.get("00000000-0000-0000-0000-000000000000")

    with pytest.raises(NotFound):
        asyncio.run(ask())


def test_events_end_with_the_job_also_when_it_had_ended_before(system: System, photo: Path) -> None:
    with Client(system.url) as client:
        job = client.submit(photo, "transform", {"steps": [{"do": "grayscale"}]}, wait_s=30)
        assert job.ended
        assert [each.name for each in client.events(job)] == ["finished"]
