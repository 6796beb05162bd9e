"""The project's own files: what set-up relies on."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-java.lock")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", text, re.M))


@pytest.mark.parametrize("lock", [*LOCKS, "deploy/local/uv.lock"])
def test_a_lock_has_hashes_and_no_addresses(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_tests_run_on_the_versions_that_are_shipped():
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert runtime.items() <= dev.items()


@pytest.mark.parametrize(
    ("lock", "requirements"),
    [
        ("requirements.lock", PYPROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", PYPROJECT["project"]["optional-dependencies"]["dev"]),
        ("requirements-java.lock", PYPROJECT["project"]["optional-dependencies"]["java"]),
    ],
)
def test_everything_that_is_required_is_locked(lock, requirements):
    names = {re.split(r"[\[<>=;! ]", each)[0].lower() for each in requirements}
    assert names <= set(pins(lock)), "run `make lock`"


def test_one_onnxruntime_a_platform():
    markers = re.findall(
        r"^(onnxruntime[a-z-]*)==\S+ ; (.+?) \\$", (ROOT / "requirements.lock").read_text(), re.M
    )
    assert len(markers) == 2
    assert all("platform_machine" in marker for _, marker in markers)


@pytest.mark.parametrize("file", ["deploy/local/bootstrap.py", "Dockerfile"])
def test_what_is_compiled_ahead_of_the_first_job_is_a_module(file):
    [name] = re.findall(r"processor(?:\.\w+)+", (ROOT / file).read_text())
    assert find_spec(name) is not None


def test_the_sample_photo_is_small_and_its_licence_is_noted():
    assert (ROOT / "assets" / "sample.jpg").stat().st_size < 150_000
    assert "CC0" in (ROOT / "assets" / "README.md").read_text()


def test_ci_runs_what_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert {"up", "down", "test", "test-fast", "test-extra", "bench", "lint", "lock"} <= targets
    commands = re.findall(r"\bmake ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert commands == ["test", "test-extra"]
    # Nothing but lint-imports checks the borders of the packages.
    assert re.search(r"^test:.* lint\b", makefile, re.M)
    assert "lint-imports" in makefile.split("\nlint:")[1].split("\n\n")[0]


def test_unit_tests_lie_in_the_tree_of_the_code():
    folders = {file.parent for file in (ROOT / "tests" / "unit").rglob("test_*.py")}
    strangers = [
        folder
        for folder in folders
        if not (ROOT / folder.relative_to(ROOT / "tests/unit")).is_dir()
    ]
    assert strangers == []
