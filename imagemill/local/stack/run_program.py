"""The command that supervisord runs: record the start, then become the broker or a service."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from imagemill.local.broker.prerequisites import BrokerKind
from imagemill.local.layout import Layout
from imagemill.local.stack.programs import BROKER, PROCESSOR
from imagemill.local.stack.starts import record_start
from imagemill.settings import ProcessorSettings


def main() -> None:
    """Become the named process; the arguments are its kind and its name."""
    kind, name = sys.argv[1:]
    layout = Layout.of(Path(os.environ["IMAGEMILL_HOME"]))
    record_start(layout, name)
    if name == BROKER:
        _become_broker(kind, layout)
    os.environ.update(member_environment(name))
    os.execv(sys.executable, [sys.executable, "-m", "imagemill", "serve", kind])


def _become_broker(kind: str, layout: Layout) -> NoReturn:
    # Imported here, since a service needs neither and should start soon.
    from imagemill.local.broker.container import ContainerBroker
    from imagemill.local.broker.install import KafkaInstall, java_environment
    from imagemill.local.broker.ports import read_ports
    from imagemill.local.broker.process import LocalBroker

    # The ports that the services got at launch, though one may be taken: it may be freed again.
    ports = read_ports(layout.kafka)
    if kind == BrokerKind.DOCKER:
        command = ContainerBroker(layout.kafka).prepare(*ports)
    else:
        install = KafkaInstall.find(layout.jars)
        command = LocalBroker(layout.kafka, install, ports=ports).prepare()
    os.execvpe(command[0], command, java_environment())


def member_environment(name: str) -> dict[str, str]:
    """Return the variables that differ between several processors; none for a single one."""
    kind, _, number = name.partition("-")
    if kind != PROCESSOR or not number:
        return {}
    settings = ProcessorSettings()
    return {
        "IMAGEMILL_WORKER_ID": f"{PROCESSOR}-{number}",
        "IMAGEMILL_WORKER_PORT": str(settings.worker_port + int(number) - 1),
    }


if __name__ == "__main__":
    main()
