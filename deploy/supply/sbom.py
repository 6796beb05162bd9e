"""Write the SBOM: every package that is shipped, in CycloneDX 1.6.

`python deploy/supply/sbom.py build/imagemill.cdx.json` lists the packages of requirements.lock with
their hashes, which cyclonedx-py reads from there, and with their licences. It needs no network, and
the same lock file gives the same document.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from licences import licences_of
from locks import ROOT, accepted, pins

_LOCK = "requirements.lock"


def main(arguments: list[str]) -> int:
    """Write the document to the path given; return 0."""
    (target,) = arguments
    file = Path(target)
    file.parent.mkdir(parents=True, exist_ok=True)
    document = with_licences(described())
    file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    print(f"{file}: {len(document['components'])} packages")
    return 0


def described() -> dict[str, Any]:
    """Return cyclonedx-py's document of the lock file.

    Raises:
        RuntimeError: cyclonedx-py failed; the text has what it printed.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "requirements", str(ROOT / _LOCK)),
            *("--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"),
            *("--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON"),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"cyclonedx-py: {done.stderr.strip()}")
    return json.loads(done.stdout)


def with_licences(document: dict[str, Any]) -> dict[str, Any]:
    """Add the licence of each package, as an SPDX expression, to the document."""
    known = licences_of({name for name, _ in pins(_LOCK)}, accepted()["licences"]["stated"])
    for component in document["components"]:
        # The lines of the lock file, whose hashes the document has in their own place.
        component.pop("description", None)
        if expression := known.get(component["name"]):
            component["licenses"] = [{"expression": expression}]
    return document


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
