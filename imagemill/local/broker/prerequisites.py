"""The broker that this machine can run, chosen by what is installed.

Standard library only: deploy/local/bootstrap.py uses it before anything is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from imagemill.local.broker.java import how_to_get
from imagemill.local.errors import LocalError


class BrokerKind(StrEnum):
    """The source of the Kafka broker."""

    EXTERNAL = "external"
    JARS = "jars"
    DOCKER = "docker"


@dataclass(frozen=True)
class Machine:
    """The means to run a broker that were found on this machine."""

    bootstrap_servers: str | None
    kafka_home: Path | None
    jars_present: bool
    maven: Path | None
    docker: bool


def look(environ: Mapping[str, str], jars_present: bool) -> Machine:
    """Search this machine; Docker is asked only if there is nothing else."""
    bootstrap = environ.get("KAFKA_BOOTSTRAP_SERVERS") or None
    kafka_home = Path(environ["KAFKA_HOME"]) if environ.get("KAFKA_HOME") else None
    maven = shutil.which("mvn", path=environ.get("PATH"))
    enough = bool(bootstrap or kafka_home or jars_present or maven)
    return Machine(
        bootstrap_servers=bootstrap,
        kafka_home=kafka_home,
        jars_present=jars_present,
        maven=Path(maven) if maven else None,
        docker=not enough and docker_answers(environ),
    )


def with_dotenv(environ: Mapping[str, str], file: Path) -> dict[str, str]:
    """Return the environment and what a .env file adds to it, as services see both."""
    found: dict[str, str] = {}
    if file.is_file():
        for line in file.read_text().splitlines():
            name, assigned, value = line.strip().partition("=")
            if assigned and not name.startswith("#"):
                found[name.removeprefix("export ").strip()] = value.strip().strip("'\"")
    return {**found, **environ}


def docker_answers(environ: Mapping[str, str]) -> bool:
    """Return whether there is a Docker command and its daemon answers."""
    docker = shutil.which("docker", path=environ.get("PATH"))
    if docker is None:
        return False
    try:
        return subprocess.run([docker, "info"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def choose_broker(machine: Machine) -> BrokerKind:
    """Choose the broker to use.

    Raises:
        LocalError: this machine can run none; the text lists the ways to get one.
    """
    if machine.bootstrap_servers:
        return BrokerKind.EXTERNAL
    if machine.kafka_home is not None:
        if not list(machine.kafka_home.glob("libs/kafka_2.1*.jar")):
            raise LocalError(
                f"KAFKA_HOME is {machine.kafka_home}, but there is no Kafka in its libs folder. "
                "Point it at an unpacked Apache Kafka 4.1 or newer, or unset it."
            )
        return BrokerKind.JARS
    if machine.jars_present or machine.maven is not None:
        return BrokerKind.JARS
    if machine.docker:
        return BrokerKind.DOCKER
    raise LocalError(
        "imagemill needs an Apache Kafka broker, and Maven, which fetches one, is missing. Any of "
        f"these is enough: install Maven ({how_to_get('maven')}); start Docker; set KAFKA_HOME to "
        "an unpacked Apache Kafka 4.1 or newer; set KAFKA_BOOTSTRAP_SERVERS to an existing cluster."
    )
