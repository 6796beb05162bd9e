"""The local system as a whole: decided from the settings, brought up, reported, taken down."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from imagemill.local.broker.jars import jars_present
from imagemill.local.broker.kafka import (
    DEFAULT_PORT,
    KafkaInstall,
    choose_ports,
    plain_clients,
    read_ports,
    wait_until_served,
)
from imagemill.local.broker.ports import holder, is_free
from imagemill.local.broker.prerequisites import BrokerKind, choose_broker, look, with_dotenv
from imagemill.local.errors import LocalError
from imagemill.local.layout import Layout
from imagemill.local.stack.mark import mark
from imagemill.local.stack.supervision import (
    API,
    BROKER,
    NAMES,
    NOTIFIER,
    PROCESSOR,
    Program,
    supervisor_config,
)
from imagemill.local.stack.supervisor import ProcessState, Supervisor
from imagemill.settings import ApiSettings, KafkaSettings, NotifierSettings, ProcessorSettings


@dataclass(frozen=True)
class Service:
    """One process as `imagemill status` shows it."""

    name: str
    pid: int | None
    state: str
    restarts: int
    port: int | None


class LocalSystem:
    """Broker, API, processor and notifier of one home folder."""

    def __init__(self, processors: int = 1) -> None:
        self.api = ApiSettings()
        self.layout = Layout.of(self.api.home)
        self.supervisor = Supervisor(self.layout)
        self._processors = processors
        self._processor = ProcessorSettings()
        self._notifier = NotifierSettings()
        self._environ = with_dotenv(os.environ, Path(".env"))

    @property
    def url(self) -> str:
        """Where this machine reaches the API."""
        return f"http://{self.api.reached_host}:{self.api.port}"

    def broker_kind(self) -> BrokerKind:
        """Where the broker comes from.

        Raises:
            LocalError: there is no way to have one.
        """
        if "kafka_bootstrap_servers" in self.api.model_fields_set:
            return BrokerKind.EXTERNAL
        return choose_broker(look(self._environ, jars_present(self.layout.jars)))

    def fetch_broker(self, kind: BrokerKind) -> None:
        """Fetch Java and Kafka where they are ours to bring."""
        if kind is BrokerKind.JARS:
            self.layout.create()
            KafkaInstall.find(self.layout.jars)

    def programs(self, kind: BrokerKind) -> list[Program]:
        """What the supervisor runs."""
        launch = (sys.executable, "-m", "imagemill.local.stack.program")
        # Beyond its grace for running items, a processor flushes what it has produced.
        processor_stop_s = int(self._processor.revoke_grace_s) + 10
        services = [
            Program(API, (*launch, API)),
            Program(PROCESSOR, (*launch, PROCESSOR), self._processors, processor_stop_s),
            Program(NOTIFIER, (*launch, NOTIFIER)),
        ]
        if kind is BrokerKind.EXTERNAL:
            return services
        return [Program(BROKER, (*launch, str(kind)), stop_wait_s=30), *services]

    def config(self, kind: BrokerKind) -> str:
        """The supervisor's configuration, with a mark: a running system of another is replaced."""
        config = supervisor_config(self.layout, self.programs(kind), Path.cwd())
        settings = (self.api, self._processor, self._notifier)
        return config + f"\n; mark {mark(settings, self._environ)}\n"

    def launch(self, kind: BrokerKind) -> bool:
        """Start the supervisor, unless it runs with this very configuration. True if it did.

        Raises:
            LocalError: a port is taken, or the supervisor did not start.
        """
        config = self.config(kind)
        if self.supervisor.running():
            if self.layout.supervisor_config.read_text() == config:
                return False
            self.supervisor.shutdown()
        self.supervisor.end_orphans()
        self._check_ports()
        self.supervisor.launch(config, self._environment(kind))
        return True

    def start_broker(self, kind: BrokerKind, timeout_s: float = 90.0) -> None:
        """Start the local broker, if there is one, and wait until it serves.

        Raises:
            LocalError: it did not; the text has the end of its log.
        """
        if kind is not BrokerKind.EXTERNAL:
            self.supervisor.start(BROKER)
        try:
            wait_until_served(self.clients(kind), timeout_s)
        except LocalError as error:
            if kind is BrokerKind.EXTERNAL:
                raise
            raise LocalError(f"{error}\n{tail(self.layout.log(BROKER))}") from error

    def clients(self, kind: BrokerKind) -> KafkaSettings:
        """The settings of clients of the cluster, once the supervisor was launched."""
        if kind is BrokerKind.EXTERNAL:
            return self.api
        return plain_clients(self.bootstrap(kind))

    def bootstrap(self, kind: BrokerKind) -> str:
        """The cluster's address; a local broker's is known once the supervisor was launched."""
        if kind is BrokerKind.EXTERNAL:
            return self.api.kafka_bootstrap_servers
        return f"127.0.0.1:{read_ports(self.layout.kafka)[0]}"

    def services(self) -> list[Service]:
        """Every process of the system; those of a system that is down as stopped."""
        states = self.supervisor.processes()
        ports = self._read_ports() if states else {}
        if not states:
            states = [ProcessState(name, None, "stopped", 0) for name in NAMES]
        order = {name: index for index, name in enumerate(NAMES)}
        states.sort(key=lambda state: (order[state.name.partition("-")[0]], state.name))
        return [
            Service(kind, state.pid, state.state, state.restarts, ports.get(state.name))
            for state in states
            for kind in [state.name.partition("-")[0]]
        ]

    def down(self) -> bool:
        """Stop everything in order; data stays. False if nothing ran."""
        if not self.supervisor.running():
            return self.supervisor.end_orphans()
        self.supervisor.shutdown()
        return True

    def _environment(self, kind: BrokerKind) -> dict[str, str]:
        """What the services inherit: this environment, with what was decided here stated in it."""
        if kind is not BrokerKind.EXTERNAL:
            choose_ports(self.layout.kafka, DEFAULT_PORT)
        self._ports_file.write_text(json.dumps(self._ports(kind)))
        stated = {
            "IMAGEMILL_HOME": str(self.layout.home),
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap(kind),
            "KAFKA_SECURITY_PROTOCOL": self.clients(kind).kafka_security_protocol,
            "PORT": str(self.api.port),
            # A log shows a line when it is written, not a buffer later.
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **stated}

    @property
    def _ports_file(self) -> Path:
        return self.layout.run / "ports.json"

    def _ports(self, kind: BrokerKind) -> dict[str, int]:
        ports = {API: self.api.port, NOTIFIER: self._notifier.notifier_port}
        if kind is not BrokerKind.EXTERNAL:
            ports[BROKER] = read_ports(self.layout.kafka)[0]
        first = self._processor.worker_port
        if self._processors == 1:
            return {**ports, PROCESSOR: first}
        numbered = {f"{PROCESSOR}-{n + 1}": first + n for n in range(self._processors)}
        return ports | numbered

    def _read_ports(self) -> dict[str, int]:
        try:
            return json.loads(self._ports_file.read_text())
        except FileNotFoundError:
            return {}

    def _check_ports(self) -> None:
        self.layout.create()
        worker = self._processor.worker_port
        wanted = {self.api.port: "PORT", self._notifier.notifier_port: "IMAGEMILL_NOTIFIER_PORT"}
        wanted |= {worker + n: "IMAGEMILL_WORKER_PORT" for n in range(self._processors)}
        for port, variable in wanted.items():
            if not is_free(port, self.api.host):
                by = holder(port) or "another program"
                raise LocalError(
                    f"port {port} is taken by {by}. Stop it, or choose another: "
                    f"{variable}={port + 1} make up"
                )


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log, under its name."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return f"{log} does not exist"
    return "\n".join([f"--- end of {log}", *text.splitlines()[-lines:]])


def as_json(services: list[Service], layout: Layout) -> str:
    """The contract of `imagemill status --json`."""
    report = {"services": [asdict(service) for service in services], "logs": str(layout.logs)}
    return json.dumps(report, indent=2)
