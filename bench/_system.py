"""A whole imagemill for one benchmark: broker, API and processor in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from imagemill.kafka.config import client_config, producer_config
from imagemill.kafka.topics import create_topics
from imagemill.local.broker.install import KafkaInstall
from imagemill.local.broker.process import LocalBroker
from imagemill.local.layout import Layout
from imagemill.local.ports import next_free
from imagemill.settings import KafkaSettings

ROOT = Path(__file__).parents[1]
_READY_S = 120
# Each benchmark process has a range of its own: two that start at once would find the same port.
_FIRST_PORT = 20_000 + os.getpid() % 1000 * 8


def home() -> Path:
    """Return the checkout's own home, which has the jars and models."""
    return Path(os.environ.get("IMAGEMILL_HOME") or ROOT / ".imagemill")


@dataclass
class System:
    """Running services; `env` points other processes at them."""

    env: dict[str, str]
    broker: LocalBroker
    processes: dict[str, psutil.Popen] = field(default_factory=dict)

    @property
    def kafka(self) -> KafkaSettings:
        """Settings for Kafka clients of this system."""
        return KafkaSettings(
            KAFKA_BOOTSTRAP_SERVERS=self.broker.bootstrap,
            topic_prefix=self.env["IMAGEMILL_TOPIC_PREFIX"],
        )

    @property
    def url(self) -> str:
        """The API's base URL."""
        return f"http://127.0.0.1:{self.env['PORT']}"

    def start(self, service: str, ready_url: str, label: str = "", **settings: str) -> None:
        """Start a service and wait until it is ready.

        A second one of its kind needs a label, and settings that differ from the first one's.
        """
        label = label or service
        log = Path(self.env["IMAGEMILL_HOME"]) / f"{label}.log"
        with log.open("ab") as output:
            self.processes[label] = psutil.Popen(
                [sys.executable, "-m", "imagemill", "serve", service],
                env=os.environ | self.env | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        wait_ready(ready_url, log)

    def second_api(self, label: str) -> str:
        """Start another API, wait until its read model is filled, and return its base URL."""
        port = next_free(int(self.env["PORT"]) + 1)
        url = f"http://127.0.0.1:{port}"
        self.start("api", f"{url}/readyz", label, PORT=str(port))
        return url

    def second_processor(self, label: str) -> None:
        """Start another worker, and wait until it has its share of the partitions."""
        port = next_free(int(self.env["PORT"]) + 1)
        self.start(
            "processor",
            f"http://127.0.0.1:{port}/readyz",
            label,
            IMAGEMILL_WORKER_ID=label,
            IMAGEMILL_WORKER_PORT=str(port),
        )

    def restart_processor(self, **settings: str) -> None:
        """Stop the worker, and start it with other settings."""
        self.stop("processor")
        port = self.env["IMAGEMILL_WORKER_PORT"]
        self.start("processor", f"http://127.0.0.1:{port}/readyz", **settings)

    def stop(self, label: str) -> None:
        """Stop a service with SIGTERM, as a supervisor would."""
        process = self.processes.pop(label)
        process.terminate()
        process.wait(30)

    def cpu_s(self, service: str) -> float:
        """Return the CPU seconds of a service and its living children."""
        process = self.processes[service]
        return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])

    def own_cpu_s(self, service: str) -> float:
        """Return the CPU seconds of the service's main process."""
        return sum(self.processes[service].cpu_times()[:2])

    def broker_rss_mb(self) -> float:
        """Return the broker's resident memory, in MB."""
        return psutil.Process(self.broker.pid).memory_info().rss / 1e6

    def results(self, *, hurried: bool = True) -> Results:
        """Read `jobs.results` from its current end."""
        return Results(self.kafka, hurried=hurried)

    def producer(self, **config: object) -> Producer:
        """Create a producer for this system's topics."""
        return Producer(producer_config(self.kafka) | config)


def wait_ready(url: str, log: Path) -> None:
    """Poll a readiness URL.

    Raises:
        RuntimeError: it was not ready in 120 s; the message has the end of the log.
    """
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url} was not ready in {_READY_S} s:\n{log.read_text()[-3000:]}")


class Results:
    """Reads a topic, by default that of terminal events, with a plain consumer of all partitions.

    With `hurried` false, the broker gathers messages for 100 ms, as for a consumer of many.
    """

    def __init__(
        self, settings: KafkaSettings, name: str = "jobs.results", *, hurried: bool = True
    ) -> None:
        waits = {"fetch.wait.max.ms": 500}
        if not hurried:
            waits = {"fetch.wait.max.ms": 100, "fetch.min.bytes": 1 << 20}
        self._consumer = Consumer(
            client_config(settings) | {"group.id": "bench", "enable.auto.commit": False} | waits
        )
        topic = settings.topic(name)
        partitions = [TopicPartition(topic, p) for p in range(settings.topic_partitions)]
        for partition in partitions:
            partition.offset = self._consumer.get_watermark_offsets(partition, timeout=10)[1]
        self._consumer.assign(partitions)

    def poll(self, timeout_s: float) -> list[Message]:
        """Return the messages that have arrived; wait `timeout_s` at most for the first."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        # consume() waits until a batch is full; with 0 s it returns what was fetched already.
        return [m for m in [first, *self._consumer.consume(500, 0)] if not m.error()]

    def wait_for(self, job_ids: set[str], timeout_s: float) -> dict[str, dict]:
        """Return the terminal events of these jobs.

        Raises:
            TimeoutError: some have not ended after `timeout_s`.
        """
        found: dict[str, dict] = {}
        end = time.monotonic() + timeout_s
        while len(found) < len(job_ids):
            if time.monotonic() > end:
                raise TimeoutError(f"{len(job_ids) - len(found)} jobs did not end")
            for message in self.poll(0.05):
                job_id = message.key().decode()
                if job_id in job_ids:
                    found[job_id] = json.loads(message.value())
        return found


@contextmanager
def system(*services: str, **settings: str) -> Iterator[System]:
    """Run a broker and the named services (api, processor); settings are environment names."""
    with tempfile.TemporaryDirectory(prefix="imagemill-bench-") as folder:
        # Models that the checkout has fetched and prepared are used from there.
        (Path(folder) / "models").symlink_to(home().resolve() / "models")
        broker = LocalBroker(
            Path(folder) / "kafka",
            KafkaInstall.find(Layout.of(home()).jars),
            port=next_free(_FIRST_PORT),
        )
        broker.start()
        worker_port = next_free(_FIRST_PORT + 2)
        env = {
            "IMAGEMILL_HOME": folder,
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "IMAGEMILL_TOPIC_PREFIX": "bench.",
            "PORT": str(next_free(worker_port + 1)),
            "IMAGEMILL_WORKER_PORT": str(worker_port),
        } | settings
        running = System(env, broker)
        try:
            create_topics(running.kafka)
            ready = {
                "api": f"{running.url}/readyz",
                "processor": f"http://127.0.0.1:{env['IMAGEMILL_WORKER_PORT']}/readyz",
            }
            for service in services:
                running.start(service, ready[service])
            yield running
        finally:
            for process in running.processes.values():
                process.terminate()
            psutil.wait_procs(running.processes.values(), timeout=20)
            broker.stop()
