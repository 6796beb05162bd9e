"""`make test` installs the programs that are missing, or names them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "local" / "dev_programs.py"
# An apt-get that logs its arguments, and as `install` makes the programs named.
APT = """#!/bin/sh
echo "$@" >> "$0.log"
[ "$1" = install ] || exit 0
for name in {made}; do cp "$0" "${{0%/*}}/$name"; done
"""


def put(folder: Path, name: str, text: str = "#!/bin/sh\n") -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def run(folder: Path, *programs: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *(programs or ("chromium", "node"))]
    environ = {**os.environ, "PATH": str(folder)}
    return subprocess.run(command, env=environ, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PATH with the programs of a shell script alone."""
    for name in ("sh", "cp"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def test_nothing_is_installed_where_all_is_there(folder):
    put(folder, "apt-get", APT.format(made=""))
    for name in ("google-chrome", "chromedriver", "node"):
        put(folder, name)
    done = run(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (folder / "apt-get.log").exists()


def test_root_installs_missing_programs_and_nobody_else_does(folder):
    put(folder, "apt-get", APT.format(made="chromium chromedriver"))
    put(folder, "node")
    done = run(folder)
    if os.geteuid() != 0:
        assert done.returncode == 1
        assert not (folder / "apt-get.log").exists()
        return
    assert done.returncode == 0, done.stderr
    assert (folder / "apt-get.log").read_text().splitlines() == [
        "update",
        "install -y --no-install-recommends chromium chromium-driver",
    ]


def test_a_program_that_is_not_asked_for_may_be_missing(folder):
    for name in ("chromium", "chromedriver"):
        put(folder, name)
    assert run(folder, "chromium").returncode == 0
    assert run(folder, "node").returncode == 1


def test_missing_programs_are_named_where_they_cannot_be_installed(folder):
    put(folder, "chromium")
    done = run(folder)
    assert done.returncode == 1
    assert "sudo apt-get install chromium-driver nodejs" in done.stderr


def test_programs_that_an_installation_did_not_bring_are_named(folder):
    put(folder, "apt-get", APT.format(made="chromium"))
    done = run(folder)
    assert done.returncode == 1
    assert "apt-get install" in done.stderr


# An npm that logs where and how it was called; it fails while there is a file "broken".
NPM = """#!/bin/sh
echo "$PWD $@" >> "$0.log"
if [ -e "${0%/*}/broken" ]; then echo "no registry" >&2; exit 1; fi
"""


def test_azurite_is_installed_once_as_it_is_locked(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("dev_programs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    put(tmp_path, "npm", NPM)
    (tmp_path / "broken").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "venv" / "azurite"

    assert module.install_azurite(folder) == "no registry"
    (tmp_path / "broken").unlink()
    assert module.install_azurite(folder) == ""
    assert module.install_azurite(folder) == ""

    call = f"{folder} ci --ignore-scripts --no-audit --no-fund"
    assert (tmp_path / "npm.log").read_text().splitlines() == [call, call]
    assert (folder / "package-lock.json").exists()


def test_the_lock_of_azurite_has_a_hash_for_each_package_and_no_address():
    lock = json.loads((SCRIPT.parent / "azurite" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert "node_modules/azurite" in packages
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
