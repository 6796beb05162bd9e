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
# Of each benchmark its own: of two that start at once, both would find the same port free.
_FIRST_PORT = 20_000 + os.getpid() % 1000 * 8


def home() -> Path:
    """The checkout's own home: jars and models are taken from there."""
    return Path(os.environ.get("IMAGEMILL_HOME") or ROOT / ".imagemill")


@dataclass
class System:
    """Running services; `env` points other processes at them."""

    env: dict[str, str]
    broker: LocalBroker
    processes: dict[str, psutil.Popen] = field(default_factory=dict)

    @property
    def kafka(self) -> KafkaSettings:
        """Settings of clients of this system."""
        return KafkaSettings(
            KAFKA_BOOTSTRAP_SERVERS=self.broker.bootstrap,
            topic_prefix=self.env["IMAGEMILL_TOPIC_PREFIX"],
        )

    @property
    def url(self) -> str:
        """The API's base URL."""
        return f"http://127.0.0.1:{self.env['PORT']}"

    def start(self, service: str, ready_url: str, label: str = "", **settings: str) -> None:
        """Start a service and wait until it says it is ready.

        A second one of its kind has a label, and settings that differ from the first one's.
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
        """Another API, with a read side of its own, once that is filled; its base URL."""
        port = next_free(int(self.env["PORT"]) + 1)
        url = f"http://127.0.0.1:{port}"
        self.start("api", f"{url}/readyz", label, PORT=str(port))
        return url

    def second_processor(self, label: str) -> None:
        """Another worker of the group, once it serves its share of the partitions."""
        port = next_free(int(self.env["PORT"]) + 1)
        self.start(
            "processor",
            f"http://127.0.0.1:{port}/readyz",
            label,
            IMAGEMILL_WORKER_ID=label,
            IMAGEMILL_WORKER_PORT=str(port),
        )

    def stop(self, label: str) -> None:
        """Stop a service as a supervisor would."""
        process = self.processes.pop(label)
        process.terminate()
        process.wait(30)

    def cpu_s(self, service: str) -> float:
        """CPU seconds that a service and its living children have used."""
        process = self.processes[service]
        return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])

    def own_cpu_s(self, service: str) -> float:
        """CPU seconds of the service's own process."""
        return sum(self.processes[service].cpu_times()[:2])

    def broker_rss_mb(self) -> float:
        """Resident memory of the broker, in MB."""
        return psutil.Process(self.broker.pid).memory_info().rss / 1e6

    def results(self, *, hurried: bool = True) -> Results:
        """A reader of `jobs.results` from now on; see Results."""
        return Results(self.kafka, hurried=hurried)

    def producer(self, **config: object) -> Producer:
        """A producer of this system's topics."""
        return Producer(producer_config(self.kafka) | config)


def wait_ready(url: str, log: Path) -> None:
    """Poll a readiness URL; raises RuntimeError with the log's tail when the time is up."""
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
    """Terminal events, or what else a topic holds, by a plain Kafka consumer on all partitions.

    One in no hurry has the broker gather them for 100 ms, as a consumer of many does.
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
        """What has come, waiting at most so long for a first one."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        # consume() waits until a batch is full: for what is here already only.
        return [m for m in [first, *self._consumer.consume(500, 0)] if not m.error()]

    def wait_for(self, job_ids: set[str], timeout_s: float) -> dict[str, dict]:
        """The terminal events of these jobs; raises TimeoutError when some do not come."""
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
    """Broker and the named services (api, processor), with settings by environment name."""
    with tempfile.TemporaryDirectory(prefix="imagemill-bench-") as folder:
        # What is fetched and prepared in the checkout is there already.
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
