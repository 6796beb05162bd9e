"""Install imagemill with its locked dependencies into .venv; at once if nothing has changed.

Runs on the system's Python with the standard library only. `--dev` adds the packages of the tests.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(
        "imagemill needs Python 3.11 or newer; this is Python %d.%d. Install a newer one, or name "
        "it: make PYTHON=python3.12 <target>" % sys.version_info[:2]
    )

import argparse
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from imagemill.local.broker.jars import jars_present  # noqa: E402
from imagemill.local.broker.prerequisites import choose_broker, look, with_dotenv  # noqa: E402
from imagemill.local.errors import LocalError  # noqa: E402
from imagemill.local.layout import Layout  # noqa: E402

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "imagemill-installed.json"
UV_LOCK = ROOT / "deploy" / "local" / "uv.lock"
COMPILED = "processor.operations.background.compiled"


def main() -> int:
    """Check the prerequisites and install what is missing; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also install the packages of the tests")
    dev = parser.parse_args().dev or _installed().get("dev", False)
    # An environment with packages of tests keeps them: `make up` after `make test` removes nothing.
    lock = ROOT / ("requirements-dev.lock" if dev else "requirements.lock")
    wanted = {"dev": dev, "digest": _digest(lock, UV_LOCK, ROOT / "pyproject.toml")}
    if _installed() == wanted:
        return 0
    try:
        environ = with_dotenv(os.environ, ROOT / ".env")
        home = Layout.of(Path(environ.get("IMAGEMILL_HOME") or ROOT / ".imagemill"))
        choose_broker(look(environ, jars_present(home.jars)))
        started = time.monotonic()
        print("Installing imagemill and its locked dependencies into .venv ...", flush=True)
        _create_venv()
        _install(lock)
    except LocalError as error:
        print(f"imagemill: {error}", file=sys.stderr)
        return 1
    STAMP.write_text(json.dumps(wanted))
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)
    _compile_ahead()
    return 0


def _installed() -> dict[str, object]:
    """Return the stamp of the last complete installation, empty if there is none."""
    if not PYTHON.exists():
        return {}
    try:
        return json.loads(STAMP.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _create_venv() -> None:
    if PYTHON.exists() and _run([PYTHON, "-m", "pip", "--version"]).returncode == 0:
        return
    done = _run([sys.executable, "-m", "venv", "--clear", VENV])
    if done.returncode != 0:
        raise LocalError(
            "a virtual environment could not be made. On Debian and Ubuntu: apt-get install "
            f"python3-venv\n{done.stdout}{done.stderr}"
        )


def _install(lock: Path) -> None:
    """Install with uv, in a fifth of pip's time, or with pip where uv fails."""
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = _run([*pip, "--require-hashes", "-r", UV_LOCK])
    if done.returncode == 0:
        uv = [VENV / "bin" / "uv", "pip"]
        done = _run([*uv, "sync", "--require-hashes", "--python", PYTHON, lock])
    if done.returncode != 0:
        print(f"uv could not install ({_last_line(done)}); trying pip ...", flush=True)
        done = _run([*pip, "--require-hashes", "-r", lock])
    if done.returncode == 0:
        done = _run([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    if done.returncode != 0:
        raise LocalError(
            "the dependencies could not be installed; is the package index reachable?\n"
            + done.stderr.strip()
        )


def _compile_ahead() -> None:
    """Compile alpha matting in the background, so that its first job does not wait for it.

    That takes a quarter of a minute, at the lowest priority; nothing waits for it.
    """
    nothing = subprocess.DEVNULL
    subprocess.Popen(
        [PYTHON, "-c", f"import os; os.nice(19); import {COMPILED}"],
        cwd=ROOT,
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        start_new_session=True,
    )


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1].strip() if lines else f"exit status {done.returncode}"


def _run(command: list[str | Path]) -> "subprocess.CompletedProcess[str]":
    # uv has its own certificates and ignores pip's settings, so pass pip's on.
    environ = {"UV_SYSTEM_CERTS": "true", "UV_HTTP_TIMEOUT": "180", **os.environ}
    if "PIP_INDEX_URL" in environ:
        environ.setdefault("UV_DEFAULT_INDEX", environ["PIP_INDEX_URL"])
    if "PIP_CERT" in environ:
        environ.setdefault("SSL_CERT_FILE", environ["PIP_CERT"])
    words = [str(word) for word in command]
    return subprocess.run(words, env=environ, cwd=ROOT, capture_output=True, text=True)


if __name__ == "__main__":
    sys.exit(main())
