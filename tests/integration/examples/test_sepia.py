"""The example package, installed by pip as a user installs it, adds an operation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
# In a process of its own: entry points are read once per process.
PROGRAM = """
import json, sys
from pathlib import Path
from pydantic import ValidationError
from imagemill.settings import ProcessorSettings
from imagemill.storage import open_store
from processor.run.item import ItemProcessor, ItemTask
from schemas.catalog import find_operation, operations

photo, home, result = map(Path, sys.argv[1:])
try:
    find_operation("sepia").params.model_validate({"strength": 2})
    refused = None
except ValidationError as error:
    refused = error.errors()[0]["loc"][0]
settings = ProcessorSettings(_env_file=None, home=home)
store = open_store(settings)
store.put("uploads/job/0", photo.read_bytes(), "image/png")
task = ItemTask("job", 0, (("sepia", {"strength": 0.8}),), key="uploads/job/0")
outcome = ItemProcessor(settings).run_item(task)
if outcome.result:
    result.write_bytes(store.get(outcome.result["key"]))
print(json.dumps({
    "refused": refused,
    "known": sorted(operations()),
    "error": outcome.error and outcome.error.message,
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package in it, built from a copy: pip writes beside the source."""
    folder = tmp_path_factory.mktemp("sepia")
    source = shutil.copytree(ROOT / "examples" / "imagemill-sepia", folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
               "--no-build-isolation", "--target", folder / "site", source]  # fmt: skip
    subprocess.run(command, check=True)
    return folder / "site"


def test_the_installed_operation_is_found_checked_and_run(site, photos, tmp_path):
    photo, result = photos / "coffee.png", tmp_path / "sepia.png"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, photo, tmp_path / "home", result],
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["refused"], said["error"]) == ("strength", None)
    assert {"sepia", "detect-objects"} <= set(said["known"])
    with Image.open(result) as toned:
        red, green, blue = toned.convert("RGB").resize((1, 1)).getpixel((0, 0))
        assert toned.size == (600, 400)
    assert red > green > blue
