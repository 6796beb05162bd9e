"""Install what the tests run beside Python, a browser and Node.js; instant when it is there.

Runs on the system's Python with the standard library only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

# Each program under its names, with the Debian package that has it.
_PROGRAMS = (
    (("chromium", "chromium-browser", "google-chrome"), "chromium"),
    (("chromedriver",), "chromium-driver"),
    (("node",), "nodejs"),
)


def main() -> int:
    """Look, install as root with apt-get, look again. Returns 1 when something is missing then."""
    missing = missing_packages(os.environ)
    if not missing:
        return 0
    failure = ""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {', '.join(missing)} for the tests ...", flush=True)
        failure = _install(missing)
        missing = missing_packages(os.environ)
        if not missing:
            return 0
    print(
        "imagemill: the tests use a real browser and run JavaScript clients, and this machine "
        f"lacks programs for that. On Debian and Ubuntu: sudo apt-get install {' '.join(missing)}"
        f"\n{failure}".rstrip(),
        file=sys.stderr,
    )
    return 1


def missing_packages(environ: Mapping[str, str]) -> list[str]:
    """The Debian packages of the programs that are not on the PATH."""
    path = environ.get("PATH")
    return [
        package
        for names, package in _PROGRAMS
        if not any(shutil.which(name, path=path) for name in names)
    ]


def _install(packages: list[str]) -> str:
    """What apt-get complained of when it failed; empty when it did not."""
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *words], env=environ, capture_output=True, text=True)
        if done.returncode != 0:
            return done.stderr.strip()
    return ""


if __name__ == "__main__":
    sys.exit(main())
