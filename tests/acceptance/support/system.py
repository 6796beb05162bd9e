"""The whole system as processes, API, processor and notifier, on a running broker."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from imagemill.kafka.topics import create_topics
from imagemill.settings import KafkaSettings
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
_STARTUP_S = 90.0


class System:
    """One API, one processor and one notifier; `start` before use, `stop` at the end."""

    def __init__(
        self, bootstrap: str, home: Path, models: Path, free_port: Callable[[], int], **env: str
    ) -> None:
        self.home = home
        self.port = free_port()
        self.worker_port = free_port()
        self.notifier_port = free_port()
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "IMAGEMILL_HOME": str(home),
            "IMAGEMILL_MODELS": str(models),
            "IMAGEMILL_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:10]}.",
            "IMAGEMILL_TOPIC_PARTITIONS": "2",
            "IMAGEMILL_WORKER_PORT": str(self.worker_port),
            "IMAGEMILL_NOTIFIER_PORT": str(self.notifier_port),
            "PORT": str(self.port),
            "WORKER_COUNT": "1",
        } | env
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The API's URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> System:
        """Create the topics, start every process and wait until all are ready."""
        settings = KafkaSettings(
            _env_file=None,  # type: ignore[call-arg]
            kafka_bootstrap_servers=self.environ["KAFKA_BOOTSTRAP_SERVERS"],
            topic_prefix=self.environ["IMAGEMILL_TOPIC_PREFIX"],
            topic_partitions=int(self.environ["IMAGEMILL_TOPIC_PARTITIONS"]),
        )
        create_topics(settings)
        for name in ("producer_api", "processor", "notifier"):
            self.launch(name)
        for name, port in (
            ("producer_api", self.port),
            ("processor", self.worker_port),
            ("notifier", self.notifier_port),
        ):
            wait_until(lambda port=port, name=name: self._ready(name, port), timeout_s=_STARTUP_S)
        return self

    def launch(self, name: str, label: str | None = None, **env: str) -> None:
        """Start one process by its package; a second one of a package needs another label."""
        label = label or name
        with (self.home / f"{label}.log").open("ab") as log:
            self._processes[label] = subprocess.Popen(
                [sys.executable, "-m", name],
                cwd=self.home,
                env=self.environ | env,
                stdout=log,
                stderr=log,
            )

    def second_api(self, port: int) -> str:
        """Start another API on the same Kafka; return its URL when it is ready."""
        label = f"producer_api-{port}"
        self.launch("producer_api", label, PORT=str(port), IMAGEMILL_PUBLIC_URL=self.url)
        wait_until(lambda: self._ready(label, port), timeout_s=_STARTUP_S)
        return f"http://127.0.0.1:{port}"

    def _ready(self, name: str, port: int) -> bool:
        if self._processes[name].poll() is not None:
            raise AssertionError(f"{name} ended: {(self.home / f'{name}.log').read_text()[-3000:]}")
        try:
            return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10).ok
        except requests.ConnectionError:
            return False

    def end(self, name: str) -> None:
        """Stop one process with SIGTERM and wait for its end, at most 60 s."""
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"{name} did not stop") from None

    def stop(self) -> None:
        """Stop every process."""
        for name in list(self._processes):
            self.end(name)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **options)

    def put(self, path: str, **options: Any) -> requests.Response:
        return requests.put(self.url + path, timeout=60, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return requests.delete(self.url + path, timeout=60, **options)

    def job(self, job_id: str) -> dict[str, Any]:
        """Read the job as it is now."""
        return self.get(f"/v1/jobs/{job_id}").json()

    def submitted(self, **body: Any) -> str:
        """Queue a job with a JSON body; return its id."""
        answer = self.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait until the job has ended, at most 120 s; return it."""
        return wait_until(
            lambda: self.get(f"/v1/jobs/{job_id}?wait=30").json(),
            lambda job: job["status"] in ("succeeded", "failed", "cancelled"),
            timeout_s=120,
        )
