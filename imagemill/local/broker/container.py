"""The local broker as a Docker container, for machines with Docker but without Maven."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

from imagemill.local.broker.process import broker_properties
from imagemill.local.layout import project_file

_DATA = "/var/lib/kafka/data"


class ContainerBroker:
    """A container of the official image, in the version of the jars, with its data in a volume."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def name(self) -> str:
        """The name of the container and of its volume; each folder has its own."""
        return "imagemill-kafka-" + hashlib.sha256(bytes(self._folder)).hexdigest()[:12]

    def prepare(self, port: int, controller_port: int) -> list[str]:
        """Remove the container that a killed `docker run` left; return the command."""
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True)
        return self.command(port, controller_port)

    def command(self, port: int, controller_port: int) -> list[str]:
        """Build a `docker run` in the foreground: signals reach the broker, its output our log."""
        command = ["docker", "run", "--rm", "--name", self.name]
        command += ["--publish", f"127.0.0.1:{port}:{port}"]
        command += ["--volume", f"{self.name}:{_DATA}"]
        for name, value in environment(port, controller_port).items():
            command += ["--env", f"{name}={value}"]
        return [*command, image()]


def image() -> str:
    """Return the image of the Kafka version in the pom."""
    pom = project_file("deploy/local/pom.xml").read_text()
    version = re.search(r"<kafka\.version>(.+?)</kafka\.version>", pom)
    if version is None:
        raise ValueError("deploy/local/pom.xml names no kafka.version")
    return f"apache/kafka:{version[1]}"


def environment(port: int, controller_port: int) -> dict[str, str]:
    """Return the configuration in the image's variables; it serves the port it is published on."""
    variables = {"KAFKA_HEAP_OPTS": "-Xmx512m"}
    for line in broker_properties(port, controller_port, _DATA).splitlines():
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition("=")
        if key == "listeners":
            # Inside the container; the published address limits who may connect.
            value = value.replace("127.0.0.1", "0.0.0.0")
        variables[f"KAFKA_{key.upper().replace('.', '_')}"] = value
    return variables
