"""What must be on a machine: which broker is chosen, and the sentence when none is possible."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from imagemill.local.broker.install import KafkaInstall
from imagemill.local.broker.java import find_java, java_home, java_version
from imagemill.local.broker.prerequisites import (
    BrokerKind,
    Machine,
    choose_broker,
    look,
    with_dotenv,
)
from imagemill.local.errors import LocalError

NOTHING = Machine(
    bootstrap_servers=None, kafka_home=None, jars_present=False, maven=None, docker=False
)


def program(folder: Path, name: str, script: str) -> Path:
    """An executable of that name that runs a shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def with_values(**values: object) -> Machine:
    return Machine(**{**NOTHING.__dict__, **values})


@pytest.mark.parametrize(
    ("machine", "kind"),
    [
        (with_values(bootstrap_servers="a:9092", maven=Path("/bin/mvn")), BrokerKind.EXTERNAL),
        (with_values(maven=Path("/bin/mvn"), docker=True), BrokerKind.JARS),
        (with_values(jars_present=True), BrokerKind.JARS),
        (with_values(docker=True), BrokerKind.DOCKER),
    ],
)
def test_the_broker_that_is_chosen(machine, kind):
    assert choose_broker(machine) is kind


def test_nothing_there_names_every_way_out():
    with pytest.raises(LocalError) as error:
        choose_broker(NOTHING)
    for way in ("Maven", "Docker", "KAFKA_HOME", "KAFKA_BOOTSTRAP_SERVERS"):
        assert way in str(error.value)


def test_a_kafka_home_without_kafka_is_said(tmp_path):
    with pytest.raises(LocalError, match="KAFKA_HOME"):
        choose_broker(with_values(kafka_home=tmp_path))


def test_a_kafka_home_with_kafka_is_taken(tmp_path):
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.1.2.jar").touch()
    assert choose_broker(with_values(kafka_home=tmp_path)) is BrokerKind.JARS


def test_docker_counts_only_when_its_daemon_answers(tmp_path):
    program(tmp_path, "docker", "exit 1")
    assert look({"PATH": str(tmp_path)}, jars_present=False).docker is False
    program(tmp_path, "docker", "exit 0")
    assert look({"PATH": str(tmp_path)}, jars_present=False).docker is True


def test_a_cluster_named_in_a_dotenv_file_is_enough(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# ours\nexport KAFKA_BOOTSTRAP_SERVERS='kafka.example:9092'\nPORT=1\n")
    environ = with_dotenv({"PORT": "2", "PATH": ""}, file)
    assert environ["PORT"] == "2"
    assert choose_broker(look(environ, jars_present=False)) is BrokerKind.EXTERNAL
    assert with_dotenv({"PORT": "2"}, tmp_path / "none") == {"PORT": "2"}


def test_a_kafka_home_and_a_java_of_a_dotenv_file_are_taken(tmp_path, monkeypatch):
    program(tmp_path / "jre" / "bin", "java", "echo 'openjdk version \"21.0.1\"' >&2")
    (tmp_path / ".env").write_text(f"KAFKA_HOME={tmp_path}\nJAVA_HOME={tmp_path / 'jre'}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    install = KafkaInstall.find(tmp_path / "unused")
    assert install.libs == tmp_path / "libs"
    assert install.java == tmp_path / "jre" / "bin" / "java"


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_392"', 8),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_java_versions(printed, version):
    assert java_version(printed) == version


def test_an_old_java_home_does_not_hide_a_new_java_on_the_path(tmp_path):
    program(tmp_path / "old" / "bin", "java", "echo 'openjdk version \"11.0.2\"' >&2")
    new = program(tmp_path / "new" / "bin", "java", "echo 'openjdk version \"21.0.1\"' >&2")
    environ = {
        "JAVA_HOME": str(tmp_path / "old"),
        "PATH": os.pathsep.join([str(new.parent), "/usr/bin", "/bin"]),
    }
    assert find_java(environ) == new
    assert java_home(new) == tmp_path / "new"
