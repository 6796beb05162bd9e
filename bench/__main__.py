"""Run the benchmark scripts of this folder one after the other: `python -m bench [name ...]`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def scripts() -> dict[str, Path]:
    """Return the scripts by name; files that begin with an underscore are shared parts."""
    found = sorted(FOLDER.glob("[!_]*.py"))
    return {path.stem: path for path in found}


def main(names: list[str]) -> int:
    """Run the named scripts, or all; return 1 if one failed, after the others have run."""
    known = scripts()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"there is no bench {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    failed = []
    for name in names or known:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        # Each in a process of its own, so that none inherits memory, threads or settings.
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], cwd=FOLDER.parent).returncode:
            failed.append(name)
        print(f"== {name} took {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
