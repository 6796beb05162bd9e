"""The local system as a whole: planned from the settings, started, reported, stopped."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from imagemill.local.broker.clients import plain_clients, wait_until_served
from imagemill.local.broker.install import KafkaInstall
from imagemill.local.broker.jars import jars_present
from imagemill.local.broker.ports import DEFAULT_PORT, choose_ports, read_ports
from imagemill.local.broker.prerequisites import BrokerKind, choose_broker, look, with_dotenv
from imagemill.local.broker.process import check_data_folder
from imagemill.local.errors import LocalError
from imagemill.local.layout import Layout
from imagemill.local.ports import PortClaim, holder, is_free, listens, next_free
from imagemill.local.stack.fingerprint import fingerprint
from imagemill.local.stack.programs import (
    API,
    BROKER,
    NAMES,
    NOTIFIER,
    PROCESSOR,
    Program,
    supervisor_config,
)
from imagemill.local.stack.starts import in_a_loop, last_error, read_starts
from imagemill.local.stack.supervisor import ORPHANED, ProcessState, Supervisor
from imagemill.settings import ApiSettings, KafkaSettings, NotifierSettings, ProcessorSettings

# State of a service that ends again and again, and is started again each time.
RESTARTING = "restarting"
# The address that a local broker listens on.
_BROKER_HOST = "127.0.0.1"
# So many ends of a service while it is waited for: waiting longer would help nobody.
MAX_ENDS = 10
_LOG_LINES_SHOWN = 15


class PortTaken(LocalError):
    """Another program has a port that one of our services is to listen on."""


@dataclass(frozen=True)
class Service:
    """One process as `imagemill status` shows it.

    `restarts` counts since the system was last brought up. `reason` is the line of its log that
    says why it ended, or who has its port, if its state is RESTARTING.
    """

    name: str
    pid: int | None
    state: str
    restarts: int
    port: int | None
    reason: str | None = None


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
        """The URL of the API on this machine."""
        return f"{self.api.scheme}://{self.api.reached_host}:{self.api.port}"

    @contextmanager
    def alone(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Keep any other `imagemill up` of this home out; calls `on_wait` if one must end first.

        Raises:
            LocalError: the home folder cannot be written.
        """
        self.layout.create()
        with (self.layout.run / "up.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def broker_kind(self) -> BrokerKind:
        """Decide where the broker comes from.

        Raises:
            LocalError: this machine has no way to run one.
        """
        if "kafka_bootstrap_servers" in self.api.model_fields_set:
            return BrokerKind.EXTERNAL
        return choose_broker(look(self._environ, jars_present(self.layout.jars)))

    def fetch_broker(self, kind: BrokerKind) -> None:
        """Fetch Java and Kafka if this system runs its own broker from jars.

        Raises:
            LocalError: one of them cannot be fetched; the text says what to do.
        """
        if kind is BrokerKind.JARS:
            check_data_folder(str(self.layout.kafka))
            KafkaInstall.find(self.layout.jars)

    def programs(self, kind: BrokerKind) -> list[Program]:
        """List the programs that the supervisor runs."""
        launch = (sys.executable, "-m", "imagemill.local.stack.run_program")
        # After its grace for running items, a processor flushes the messages it has produced.
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
        """Return the supervisor's configuration, with a fingerprint of settings and code."""
        config = supervisor_config(self.layout, self.programs(kind), Path.cwd())
        settings = (self.api, self._processor, self._notifier)
        return config + f"\n; fingerprint {fingerprint(settings, self._environ)}\n"

    def launch(self, kind: BrokerKind) -> bool:
        """Start the supervisor; return False if it runs already with this very configuration.

        Raises:
            LocalError: a port is taken, or the supervisor did not start.
        """
        config = self.config(kind)
        if self.supervisor.running():
            if self.layout.supervisor_config.read_text() == config:
                return False
            self.supervisor.shutdown()
        self.supervisor.end_orphans()
        self.layout.create()
        self._check_ports()
        self.supervisor.launch(config, self._environment(kind))
        return True

    def start_broker(self, kind: BrokerKind, timeout_s: float = 90.0) -> None:
        """Start the local broker, if there is one, and wait until it serves clients.

        Raises:
            PortTaken: another program has one of its ports; the next launch chooses others.
            LocalError: it does not serve; the text has the end of its log.
        """
        if kind is BrokerKind.EXTERNAL:
            return wait_until_served(self.api, timeout_s)
        self.supervisor.start(BROKER)
        # A container's ports are held by Docker, not by the process that is supervised here.
        ports = read_ports(self.layout.kafka) if kind is BrokerKind.JARS else ()
        claims = [PortClaim(port, _BROKER_HOST) for port in ports]

        def check() -> None:
            broker = self._broker()
            for claim in claims:
                if by := claim.lost_to(broker.pid):
                    raise PortTaken(f"port {claim.port}, the broker's, is taken by {by}")
            if broker.restarts >= MAX_ENDS:
                raise LocalError(f"the broker has ended {broker.restarts} times while it started")

        def ours() -> bool:
            pid = self._broker().pid
            return not ports or (pid is not None and listens(pid, ports[0]))

        try:
            wait_until_served(self.clients(kind), timeout_s, check=check, ours=ours)
        except PortTaken:
            raise
        except LocalError as error:
            raise LocalError(f"{error}\n{tail(self.layout.log(BROKER))}") from error

    def clients(self, kind: BrokerKind) -> KafkaSettings:
        """Return the settings of clients of the cluster, once the supervisor was launched."""
        if kind is BrokerKind.EXTERNAL:
            return self.api
        return plain_clients(self.bootstrap(kind))

    def api_on(self, kind: BrokerKind) -> ApiSettings:
        """Return the settings of an API on the cluster, once the supervisor was launched."""
        clients = self.clients(kind)
        kafka = {name: getattr(clients, name) for name in KafkaSettings.model_fields}
        return self.api.model_copy(update=kafka)

    def bootstrap(self, kind: BrokerKind) -> str:
        """Return the cluster's address; a local broker's once the supervisor was launched."""
        if kind is BrokerKind.EXTERNAL:
            return self.api.kafka_bootstrap_servers
        return f"{_BROKER_HOST}:{read_ports(self.layout.kafka)[0]}"

    def services(self) -> list[Service]:
        """Report every process of the system; all as stopped if the system is down."""
        states = self.supervisor.processes()
        ports = self._read_ports() if states else {}
        if not states:
            states = [ProcessState(name, None, "stopped", 0) for name in NAMES]
        order = {name: index for index, name in enumerate(NAMES)}
        states.sort(key=lambda state: (order[_kind(state.name)], state.name))
        return [self._service(state, ports.get(state.name)) for state in states]

    def report(self) -> list[Service]:
        """Report as `services` does, and find out whose port is taken by another program."""
        return [self._with_conflict(service) for service in self.services()]

    def down(self) -> bool:
        """Stop everything in order and keep the data; return False if nothing ran."""
        if not self.supervisor.running():
            return self.supervisor.end_orphans()
        self.supervisor.shutdown()
        return True

    def port_taken(self, port: int, by: str) -> PortTaken:
        """Make the error that says which setting chooses another port."""
        wanted = self._wanted_ports()
        variable = next(name for name, ports in wanted.items() if port in ports)
        ours = {each for ports in wanted.values() for each in ports}
        other = next_free(port + 1, but=ours)
        return PortTaken(
            f"port {port} is taken by {by}. Stop it, or choose another: {variable}={other} make up"
        )

    def _service(self, state: ProcessState, port: int | None) -> Service:
        kind, shown, reason = _kind(state.name), state.state, None
        if shown not in ("stopped", "stopping", ORPHANED):
            starts = read_starts(self.layout, state.name)
            if in_a_loop(starts):
                shown, reason = RESTARTING, last_error(self.layout, state.name, starts)
        return Service(kind, state.pid, shown, state.restarts, port, reason)

    def _with_conflict(self, service: Service) -> Service:
        port, pid = service.port, service.pid
        # The ports of a broker in a container are held by Docker, not by the supervised process.
        if port is None or not service.restarts or service.name == BROKER:
            return service
        if (pid is not None and listens(pid, port)) or is_free(port, self.api.host):
            return service
        reason = f"port {port} is taken by {holder(port) or 'another program'}"
        return replace(service, state=RESTARTING, reason=reason)

    def _broker(self) -> Service:
        found = [service for service in self.services() if service.name == BROKER]
        if not found:
            raise LocalError("the system was stopped while the broker started")
        return found[0]

    def _environment(self, kind: BrokerKind) -> dict[str, str]:
        """Return the services' environment: ours, and what was decided here stated in it."""
        if kind is not BrokerKind.EXTERNAL:
            ours = {port for ports in self._wanted_ports().values() for port in ports}
            choose_ports(self.layout.kafka, DEFAULT_PORT, but=ours)
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

    def wanted_ports(self) -> Iterator[tuple[str, int]]:
        """Yield each port that the settings ask for, with the variable that chooses it."""
        for variable, ports in self._wanted_ports().items():
            for port in ports:
                yield variable, port

    def _wanted_ports(self) -> dict[str, list[int]]:
        """Return the ports that the settings ask for, by the setting."""
        worker = self._processor.worker_port
        ops = [] if self.api.ops_port is None else [self.api.ops_port]
        return {
            "PORT": [self.api.port],
            "IMAGEMILL_OPS_PORT": ops,
            "IMAGEMILL_NOTIFIER_PORT": [self._notifier.notifier_port],
            "IMAGEMILL_WORKER_PORT": [worker + n for n in range(self._processors)],
        }

    def _check_ports(self) -> None:
        seen: dict[int, str] = {}
        for variable, port in self.wanted_ports():
            if port in seen:
                raise LocalError(
                    f"{seen[port]} and {variable} both ask for port {port}; change one of them"
                )
            seen[port] = variable
            if not is_free(port, self.api.host):
                raise self.port_taken(port, holder(port) or "another program")


def _kind(process: str) -> str:
    """Return the service that a process is of: `processor` for `processor-2`."""
    return process.partition("-")[0]


def tail(log: Path) -> str:
    """Return the last lines of a log, below its name."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return f"{log} does not exist"
    return "\n".join([f"--- end of {log}", *text.splitlines()[-_LOG_LINES_SHOWN:]])


def as_json(services: list[Service], layout: Layout) -> str:
    """Return the answer of `imagemill status --json`; `reason` is in it where there is one."""
    shown = [asdict(service) for service in services]
    for each in shown:
        if each["reason"] is None:
            del each["reason"]
    return json.dumps({"services": shown, "logs": str(layout.logs)}, indent=2)
