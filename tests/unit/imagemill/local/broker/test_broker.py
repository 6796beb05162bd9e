"""Ports and configuration of the local broker, as jars and as a container."""

from __future__ import annotations

import os
import socket

import pytest

from imagemill.local.broker.container import ContainerBroker
from imagemill.local.broker.install import KafkaInstall
from imagemill.local.broker.jars import find_jars, jars_present
from imagemill.local.broker.ports import choose_ports, read_ports
from imagemill.local.broker.process import broker_properties
from imagemill.local.errors import LocalError
from imagemill.local.ports import holder, next_free


@pytest.fixture
def taken():
    """A port on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_passed_over_and_the_choice_remembered(tmp_path, taken):
    port, controller_port = choose_ports(tmp_path, taken)
    assert taken not in (port, controller_port)
    assert port != controller_port
    assert read_ports(tmp_path) == (port, controller_port)
    assert choose_ports(tmp_path, 1234) == (port, controller_port)


def test_a_remembered_port_that_was_taken_meanwhile_is_given_up(tmp_path, taken):
    (tmp_path / "ports.json").write_text(f'{{"port": {taken}, "controller_port": {taken + 1}}}')
    port, _ = choose_ports(tmp_path, 1234)
    assert port > taken


def test_ports_that_the_services_are_to_have_are_left_to_them(tmp_path, taken):
    # Nothing listens on them yet when the broker's are chosen.
    free = next_free(taken + 1)
    ports = choose_ports(tmp_path, free, but={free, free + 1})
    assert not {free, free + 1} & {*ports}


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ("/srv/a home/data", "/srv/a home/data"),
        ("/home/jürgen/data", r"/home/j\u00fcrgen/data"),
        ("/srv/\N{GRINNING FACE}", r"/srv/\ud83d\ude00"),
        ("/srv/back\\slash", r"/srv/back\\slash"),
    ],
)
def test_the_data_folder_is_written_as_java_reads_it(data, written):
    assert f"log.dirs={written}" in broker_properties(9092, 9093, data).splitlines()


def test_a_folder_that_kafka_would_take_for_two_is_refused(tmp_path):
    with pytest.raises(LocalError, match="has a comma in it"):
        broker_properties(9092, 9093, "/srv/a,b/data")
    with pytest.raises(LocalError, match="has a colon in it"):
        KafkaInstall.find(tmp_path / "a:b" / "libs")


def test_who_holds_a_port_is_named(taken):
    assert f"(pid {os.getpid()})" in (holder(taken) or "")


def test_next_free_skips_what_it_is_told_to(taken):
    first = next_free(taken)
    assert first > taken
    assert next_free(taken, but=frozenset({first})) > first


def test_topics_are_not_created_by_accident_and_groups_form_at_once():
    lines = broker_properties(9092, 9093, "/data").splitlines()
    assert "auto.create.topics.enable=false" in lines
    assert "group.initial.rebalance.delay.ms=0" in lines
    assert "log.dirs=/data" in lines


def test_the_container_is_the_same_broker_on_the_same_port(tmp_path):
    command = ContainerBroker(tmp_path).command(9095, 9096)
    assert command[:3] == ["docker", "run", "--rm"]
    assert command[-1].startswith("apache/kafka:4.1")
    assert "127.0.0.1:9095:9095" in command
    variables = dict(word.split("=", 1) for word in command if word.startswith("KAFKA_"))
    assert variables["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:9095"
    assert variables["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:9095,")
    assert variables["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_a_half_fetched_set_of_jars_does_not_count(tmp_path):
    (tmp_path / "kafka_2.13-4.1.2.jar").touch()
    assert not jars_present(tmp_path)


def test_kafka_home_saves_the_download(tmp_path):
    libs = find_jars(tmp_path / "unused", {"KAFKA_HOME": str(tmp_path)}, java=tmp_path)
    assert libs == tmp_path / "libs"
