"""The wheel: installed without the services' packages it has the client and its commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.servers import QuietHandler, http_server

ROOT = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and what it requires, alone."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet",
        "--wheel-dir", folder, ROOT,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("imagemill-*.whl")
    pins = folder / "pins.txt"
    lock = (ROOT / "requirements.lock").read_text()
    pins.write_text("\n".join(line.split(" ")[0] for line in lock.splitlines() if "==" in line))
    environment = folder / "env"
    made = run(UV, "venv", "--quiet", "--python", sys.executable, environment)
    assert made.returncode == 0, made.stderr
    binaries = environment / "bin"
    put = run(
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        binaries / "python",
        "--constraint",
        pins,
        wheel,
    )
    assert put.returncode == 0, put.stderr
    return binaries


@pytest.fixture
def api() -> Iterator[str]:
    """The URL of a server that answers every submit with one picture's end."""
    job = (
        b'{"id": "abcdefgh", "operation": "remove-background", "status": "succeeded",'
        b' "progress": {"total": 1, "processed": 1, "failed": 0}, "items": [{"index": 0,'
        b' "status": "succeeded", "result": {"key": "k"}, "links": {"result": "/picture"}}]}'
    )

    class Handler(QuietHandler, BaseHTTPRequestHandler):
        def _answer(self, body: bytes, content_type: str) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self._answer(job, "application/json")

        def do_GET(self) -> None:
            self._answer(b"a picture", "image/png")

    with http_server(Handler) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_it_says_its_version(installed: Path) -> None:
    said = run(installed / "imagemill", "--version")
    assert (said.returncode, said.stdout.split()[0]) == (0, "imagemill")


def test_it_has_none_of_the_services_packages(installed: Path) -> None:
    listed = run(UV, "pip", "list", "--python", installed / "python").stdout
    for package in ("aiohttp", "boto3", "confluent-kafka", "numpy", "onnxruntime", "pillow"):
        assert f"\n{package} " not in listed
    # uv's environment has no pip; the project and a handful of small packages are there.
    assert len(listed.splitlines()) < 40


def test_a_picture_is_processed(installed: Path, api: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff")
    done = run(installed / "imagemill", "run", "x.jpg", "-o", "y.png", "--url", api, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "y.png").read_bytes() == b"a picture"


def test_the_client_is_typed_and_works(installed: Path, api: str, tmp_path: Path) -> None:
    code = (
        "import imagemill, pathlib; "
        "assert (pathlib.Path(imagemill.__file__).parent / 'py.typed').exists(); "
        f"imagemill.Client({api!r}).remove_background(b'x').save('y.png')"
    )
    done = run(installed / "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["up", "topics list", "serve api", "keys list", "doctor"])
def test_a_command_of_the_services_says_what_to_install(
    installed: Path, command: str, tmp_path: Path
) -> None:
    environ = {"PATH": os.environ["PATH"]}
    done = run(installed / "imagemill", *command.split(), cwd=tmp_path, env=environ)
    assert done.returncode == 1
    assert "pip install 'imagemill[server]'" in done.stderr
    assert "Traceback" not in done.stderr
