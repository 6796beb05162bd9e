"""Install the programs that tests run beside Python: a browser, Node.js, Go, and Azurite.

`dev_programs.py chromium node go azurite` installs them, and returns at once when all are there. It
runs on the system's Python with the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# By argument: the names that a program has on the PATH, and the Debian package that has it.
_PROGRAMS = {
    "chromium": (
        (("chromium", "chromium-browser", "google-chrome"), "chromium"),
        (("chromedriver",), "chromium-driver"),
    ),
    "node": ((("node",), "nodejs"),),
    "go": ((("go",), "golang-go"),),
    "azurite": ((("node",), "nodejs"), (("npm",), "npm")),
}
ROOT = Path(__file__).resolve().parents[2]
# Names and hashes of Azurite and all that it needs.
_AZURITE_LOCK = ROOT / "deploy" / "local" / "azurite"
# Of the Python environment, so that `make clean` removes it too.
AZURITE = ROOT / ".venv" / "azurite"


def main(arguments: Sequence[str]) -> int:
    """Install the missing programs. Returns 1 if one is still missing."""
    if _install_missing(arguments):
        return 1
    failure = install_azurite(AZURITE) if "azurite" in arguments else ""
    if failure:
        print(
            f"imagemill: npm could not install Azurite for the tests:\n{failure}", file=sys.stderr
        )
    return 1 if failure else 0


def _install_missing(arguments: Sequence[str]) -> int:
    """Install missing packages with apt-get, as root. Returns 1 if one is still missing."""
    missing = missing_packages(arguments, os.environ)
    if not missing:
        return 0
    failure = ""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {', '.join(missing)} for the tests ...", flush=True)
        failure = _install(missing)
        missing = missing_packages(arguments, os.environ)
        if not missing:
            return 0
    print(
        f"imagemill: the tests need {' and '.join(missing)}. On Debian and Ubuntu: sudo apt-get "
        f"install {' '.join(missing)}\n{failure}".rstrip(),
        file=sys.stderr,
    )
    return 1


def missing_packages(wanted: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """List the Debian packages of the wanted programs that are not on the PATH.

    Raises:
        KeyError: no such program.
    """
    path = environ.get("PATH")
    return [
        package
        for program in wanted
        for names, package in _PROGRAMS[program]
        if not any(shutil.which(name, path=path) for name in names)
    ]


def _install(packages: list[str]) -> str:
    """Install with apt-get. Returns its error output if it failed, else an empty string."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *arguments], env=environ, capture_output=True, text=True)
        if done.returncode != 0:
            return done.stderr.strip()
    return ""


def install_azurite(folder: Path) -> str:
    """Install the locked Azurite into a folder, unless it is there. Returns npm's errors if any.

    Processes that call this at the same time wait for the first.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    files = [_AZURITE_LOCK / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = folder / "installed"
    with open(folder.with_suffix(".lock"), "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return ""
        print("Installing Azurite for the tests ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        # No script of a package runs: none of these needs one.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode == 0:
            stamp.write_text(digest)
            return ""
    return done.stderr.strip() or f"npm ended with status {done.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
