"""The Kafka jars: fetched once by Maven from deploy/local/pom.xml, or those of KAFKA_HOME.

Standard library only: deploy/local/bootstrap.py uses it before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from imagemill.local.broker.java import how_to_get, java_home
from imagemill.local.errors import LocalError
from imagemill.local.layout import project_file

_STAMP = "complete"


def _wanted() -> str:
    """Return the stamp of a complete set of jars: the digest of the pom."""
    return hashlib.sha256(project_file("deploy/local/pom.xml").read_bytes()).hexdigest()


def jars_present(folder: Path) -> bool:
    """Return whether the folder holds all jars of the current pom."""
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text() == _wanted()


def find_jars(folder: Path, environ: Mapping[str, str], java: Path) -> Path:
    """Return the folder of Kafka's jars: KAFKA_HOME's, else `folder`, filled by Maven if needed.

    Raises:
        LocalError: Maven is missing, or could not fetch them.
    """
    if environ.get("KAFKA_HOME"):
        return Path(environ["KAFKA_HOME"], "libs")
    if not jars_present(folder):
        _fetch(folder, java, environ)
    return folder


def _fetch(folder: Path, java: Path, environ: Mapping[str, str]) -> None:
    """Fetch into a folder beside it and rename that, so that an interrupted fetch has no effect."""
    maven = shutil.which("mvn", path=environ.get("PATH"))
    if maven is None:
        raise LocalError(f"Maven is missing, which fetches Kafka: {how_to_get('maven')}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="libs-", dir=folder.parent))
    command = [maven, "--batch-mode", "--quiet", "-f", str(project_file("deploy/local/pom.xml"))]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
    environ = {**environ, "JAVA_HOME": str(java_home(java))}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(fresh)
        raise LocalError(
            "Maven could not fetch Kafka; is Maven Central, or the mirror in ~/.m2/settings.xml, "
            f"reachable?\n{(done.stdout + done.stderr).strip()}"
        )
    (fresh / _STAMP).write_text(_wanted())
    shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(fresh, folder)
    except OSError:
        # Another process has finished the same fetch meanwhile; its jars are as good.
        shutil.rmtree(fresh)
        if not jars_present(folder):
            raise
