"""A Kafka broker of one node (KRaft) from jars: configured, formatted once, started, stopped."""

from __future__ import annotations

import signal
import string
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from imagemill.local.broker.clients import plain_clients, wait_until_served
from imagemill.local.broker.install import KafkaInstall, java_environment
from imagemill.local.broker.ports import DEFAULT_PORT, choose_ports, read_ports
from imagemill.local.errors import LocalError
from imagemill.local.layout import project_file

_LOG_LINES_SHOWN = 15


class LocalBroker:
    """One broker whose data, configuration and ports stay in `folder`.

    Its ports are chosen at the first start and remembered in the folder: the next broker there
    takes them again, unless another program has meanwhile. `ports` sets them instead.
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
        # The same over restarts: clients look for a broker that was killed where it was.
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port of clients; chosen by `prepare`."""
        return (self._ports or read_ports(self.folder))[0]

    @property
    def bootstrap(self) -> str:
        """The value for KAFKA_BOOTSTRAP_SERVERS."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running else None

    @property
    def log(self) -> Path:
        """The broker's output, when `start` runs it."""
        return self.folder / "broker.log"

    def prepare(self) -> list[str]:
        """Choose ports, write the configuration, format the data once; return the command.

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
        done = subprocess.run(command, env=java_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise LocalError(f"Kafka could not format its storage:\n{done.stdout}{done.stderr}")

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it serves clients.

        Raises:
            LocalError: it ended, or did not answer in time; the text has the end of its log.
        """
        command = self.prepare()
        with self.log.open("ab") as log:
            # A session of its own: an interrupt typed for the tests is not meant for the broker.
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=java_environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until_served(plain_clients(self.bootstrap), timeout_s, check=self._check_running)
        except LocalError as error:
            self.kill()
            tail = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
            raise LocalError("\n".join([str(error), *tail])) from error

    def _check_running(self) -> None:
        if self.pid is None:
            raise LocalError("the Kafka broker ended while it started")

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop it as an operator would; its data is on disk when this returns."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """Kill it with SIGKILL: nothing is flushed, as after a power failure."""
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
    """Return the broker's configuration, as the text of a properties file.

    Raises:
        LocalError: the configuration cannot name the data folder.
    """
    check_data_folder(data)
    template = string.Template(project_file("deploy/local/server.properties").read_text())
    return template.substitute(port=port, controller_port=controller_port, data=_escaped(data))


def check_data_folder(data: str) -> None:
    """Raise LocalError if Kafka takes the path of its data for several."""
    if "," in data:
        raise LocalError(
            f"the path {data} has a comma in it, which Kafka takes for the end of a path; use "
            "another folder (IMAGEMILL_HOME)"
        )


def _escaped(value: str) -> str:
    r"""Escape a value of a properties file, which Java reads as Latin-1 with \uXXXX for the rest.

    A name outside the Basic Multilingual Plane takes two such units, as in UTF-16.
    """
    escaped = []
    for character in value:
        if character == "\\":
            escaped.append("\\\\")
        elif character.isascii():
            escaped.append(character)
        else:
            units = character.encode("utf-16-be").hex()
            escaped += [f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)]
    return "".join(escaped)
