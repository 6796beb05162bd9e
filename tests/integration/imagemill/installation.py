"""The command `imagemill` as a user of its own has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from imagemill.local.stack.ready import answers_ready

ROOT = Path(__file__).parents[3]


class Installation:
    """The command `imagemill` with a home, ports and working folder of its own."""

    def __init__(self, folder: Path, kafka: Path, free_port: Callable[[], int]) -> None:
        """`kafka` serves as KAFKA_HOME; models that `make up` fetched here are used again."""
        self.home = folder / "home"
        self.port = free_port()
        self.printed = ""
        self._folder = folder
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "IMAGEMILL_HOME": str(self.home),
            "KAFKA_HOME": str(kafka),
            "PORT": str(self.port),
            "IMAGEMILL_WORKER_PORT": str(free_port()),
            "IMAGEMILL_NOTIFIER_PORT": str(free_port()),
        }
        # What a run against an existing cluster sets; here the broker is part of the system.
        self.environ.pop("KAFKA_BOOTSTRAP_SERVERS", None)
        models = ROOT / ".imagemill" / "models"
        if models.is_dir():
            self.home.mkdir(parents=True)
            (self.home / "models").symlink_to(models)

    @property
    def host(self) -> str:
        """The address that the services listen on."""
        return self.environ.setdefault("IMAGEMILL_HOST", "127.0.0.1")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `imagemill` with these arguments."""
        process = self.begin(*words)
        printed, complained = process.communicate(timeout=240)
        return subprocess.CompletedProcess(words, process.returncode, printed, complained)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start `imagemill` with these arguments, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "imagemill", *words],
            cwd=self._folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self) -> str:
        """Bring the system up; return what that printed."""
        done = self.run("up")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self) -> dict[str, dict]:
        """Return the report of each service by name."""
        report = json.loads(self.run("status", "--json").stdout)
        assert set(report) == {"services", "logs"}
        return {service["name"]: service for service in report["services"]}

    def get(self, path: str) -> bytes:
        """The body of a GET of the API."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=30) as answer:
            return answer.read()

    def ready(self) -> bool:
        """Return True if all services say that they are ready."""
        names = ("PORT", "IMAGEMILL_WORKER_PORT", "IMAGEMILL_NOTIFIER_PORT")
        return all(answers_ready(self.host, int(self.environ[name])) for name in names)
