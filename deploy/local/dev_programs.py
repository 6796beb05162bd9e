"""Install the programs that tests run beside Python: a browser and its driver, Node.js, and Go.

`dev_programs.py chromium node go` installs them, and returns at once when all are there. It runs on
the system's Python with the standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

# By argument: the names that a program has on the PATH, and the Debian package that has it.
_PROGRAMS = {
    "chromium": (
        (("chromium", "chromium-browser", "google-chrome"), "chromium"),
        (("chromedriver",), "chromium-driver"),
    ),
    "node": ((("node",), "nodejs"),),
    "go": ((("go",), "golang-go"),),
}


def main(arguments: Sequence[str]) -> int:
    """Install the missing programs with apt-get, as root. Returns 1 if one is still missing."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
