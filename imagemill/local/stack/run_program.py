"""What supervisord runs: notes the start, then becomes the broker or `imagemill serve <name>`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from imagemill.local.broker.prerequisites import BrokerKind
from imagemill.local.layout import Layout
from imagemill.local.stack.programs import BROKER, PROCESSOR
from imagemill.local.stack.starts import record_start
from imagemill.settings import ProcessorSettings


def main() -> None:
    """Become the process of that name: `python -m imagemill.local.program <kind> <name>`."""
    kind, name = sys.argv[1:]
    layout = Layout.of(Path(os.environ["IMAGEMILL_HOME"]))
    record_start(layout, name)
    command = _broker(kind, layout) if name == BROKER else _service(kind, name)
    os.execvp(command[0], command)


def _broker(kind: str, layout: Layout) -> list[str]:
    # Imported here, as a service needs neither and should start soon.
    from imagemill.local.broker.container import ContainerBroker
    from imagemill.local.broker.install import KafkaInstall
    from imagemill.local.broker.ports import read_ports
    from imagemill.local.broker.process import LocalBroker

    # Those the services were told at launch, even if one seems taken: it may be freed any moment.
    ports = read_ports(layout.kafka)
    if kind == BrokerKind.DOCKER:
        return ContainerBroker(layout.kafka).prepare(*ports)
    return LocalBroker(layout.kafka, KafkaInstall.find(layout.jars), ports=ports).prepare()


def _service(kind: str, name: str) -> list[str]:
    os.environ.update(member_environment(name))
    return [sys.executable, "-m", "imagemill", "serve", kind]


def member_environment(name: str) -> dict[str, str]:
    """What tells one of several processors from the others; nothing for a service of one."""
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
