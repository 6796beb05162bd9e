"""The local broker keeps what it acknowledged; guarded, it opens to whom the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import SecretStr

from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topics import admin, check_topics, create_topics
from imagemill.local.broker.clients import plain_clients, wait_until_served
from imagemill.local.broker.install import KafkaInstall
from imagemill.local.errors import LocalError
from imagemill.settings import KafkaSettings, ProcessorSettings
from processor.faust_app import client_options, credentials
from schemas.topics import TOPICS
from tests.support.guarded_broker import GuardedBroker
from tests.support.waiting import wait_until

pytestmark = pytest.mark.longest


class PasswordBroker(GuardedBroker):
    """A broker with two further ports for a user with a password: in the clear, and over TLS."""

    protocols: ClassVar = {"GUARDED": "SASL_PLAINTEXT", "SEALED": "SASL_SSL"}

    def options(self) -> str:
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return f"""
sasl.enabled.mechanisms=PLAIN
allow.everyone.if.no.acl.found=true
listener.name.guarded.plain.sasl.jaas.config={module} required user_mill="opens";
listener.name.sealed.plain.sasl.jaas.config={module} required user_mill="opens";
"""


@pytest.fixture(scope="module")
def guarded_broker(
    tmp_path_factory: pytest.TempPathFactory,
    kafka_install: KafkaInstall,
    free_port: Callable[[], int],
) -> Iterator[GuardedBroker]:
    """One for the tests here, which leave it running."""
    folder = tmp_path_factory.mktemp("kafka")
    local = PasswordBroker(folder, kafka_install, ports=(free_port(), free_port()))
    local.ports = {"GUARDED": free_port(), "SEALED": free_port()}
    local.start()
    try:
        yield local
    finally:
        local.kill()


def write(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


def test_what_was_acknowledged_survives_a_kill_and_a_stop(guarded_broker: GuardedBroker):
    admin = AdminClient({"bootstrap.servers": guarded_broker.bootstrap})
    topic = NewTopic("kept", num_partitions=1, replication_factor=1)
    admin.create_topics([topic])["kept"].result(30)
    where = guarded_broker.bootstrap

    write(where, "kept", [b"before the kill"])
    guarded_broker.kill()
    assert guarded_broker.pid is None
    guarded_broker.start()
    assert guarded_broker.bootstrap == where

    write(where, "kept", [b"before the stop"])
    guarded_broker.stop()
    guarded_broker.start()
    assert read(where, "kept", 2) == [b"before the kill", b"before the stop"]


@pytest.fixture
def guarded(guarded_broker: GuardedBroker, topic_prefix: str) -> ProcessorSettings:
    """Settings of one who knows the password, with topics of its own."""
    return ProcessorSettings(
        _env_file=None,
        kafka_bootstrap_servers=guarded_broker.address("GUARDED"),
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username="mill",
        kafka_sasl_password="opens",
        topic_prefix=topic_prefix,
        topic_partitions=1,
    )


def sealed(broker: GuardedBroker) -> dict[str, object]:
    """The settings that reach it over TLS."""
    return {
        "kafka_bootstrap_servers": broker.address("SEALED"),
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ssl_ca_location": broker.ca,
    }


@pytest.fixture(params=["in the clear", "over TLS"])
def way_in(
    request: pytest.FixtureRequest, guarded: ProcessorSettings, guarded_broker: GuardedBroker
) -> ProcessorSettings:
    """The same settings, or those for the port with TLS."""
    if request.param == "in the clear":
        return guarded
    return guarded.model_copy(update=sealed(guarded_broker))


async def test_a_password_opens_the_cluster_to_every_kind_of_client(way_in: ProcessorSettings):
    settings = way_in
    guessed = settings.model_copy(update={"kafka_sasl_password": SecretStr("guessed")})
    with pytest.raises(LocalError, match=r"refuses us: .*Authentication failed"):
        wait_until_served(guessed, 30)
    wait_until_served(settings, 30)
    assert len(create_topics(settings)) == len(TOPICS)

    servers = {"bootstrap_servers": settings.kafka_bootstrap_servers}
    of_faust = servers | credentials_to_aiokafka_auth(credentials(settings))
    for options in (of_faust, client_options(settings)):
        consumer = AIOKafkaConsumer(**options)
        await consumer.start()
        try:
            assert settings.topic("jobs.high") in await consumer.topics()
        finally:
            await consumer.stop()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kafka_sasl_password": SecretStr("guessed")}, "refuses us: .*Authentication failed"),
        ({"kafka_ssl_ca_location": None}, "refuses us: .*certificate could not be verified"),
        ({"kafka_bootstrap_servers": "127.0.0.1:2"}, "no Kafka broker answered .*refused"),
    ],
)
def test_whom_the_cluster_does_not_let_in_is_told_why(
    guarded: ProcessorSettings,
    guarded_broker: GuardedBroker,
    capfd: pytest.CaptureFixture[str],
    change: dict[str, object],
    sentence: str,
):
    settings = guarded.model_copy(update=sealed(guarded_broker) | change)
    with pytest.raises(KafkaUnavailable, match=sentence):
        check_topics(settings, timeout_s=1.0)
    # Clients of other tests, whose brokers are gone, go on telling of theirs.
    assert f"{settings.kafka_bootstrap_servers}/" not in capfd.readouterr().err


def test_topics_that_would_lose_messages_are_told_with_what_puts_them_right(
    guarded_broker: GuardedBroker, topic_prefix: str
):
    settings = KafkaSettings(
        _env_file=None,
        kafka_bootstrap_servers=guarded_broker.bootstrap,
        topic_prefix=topic_prefix,
        topic_partitions=1,
    )
    state = settings.topic("jobs.state")
    client = admin(settings)
    others = {"cleanup.policy": "delete", "max.message.bytes": "1048588"}
    client.create_topics([NewTopic(state, 1, 1, config=others)])[state].result(30)

    with pytest.raises(TopicsMissing) as told:
        create_topics(settings)
    sentence, command = str(told.value).splitlines()[1].split(": ")
    assert sentence == (
        f"{state} has cleanup.policy=delete, not compact and max.message.bytes=1048588, not 4194304"
    )
    words = command.split()
    altered = ConfigResource(ConfigResource.Type.TOPIC, words[words.index("--entity-name") + 1])
    for each in words[words.index("--add-config") + 1].split(","):
        altered.add_incremental_config(
            ConfigEntry(*each.split("="), incremental_operation=AlterConfigOpType.SET)
        )
    client.incremental_alter_configs([altered])[altered].result(30)
    # The broker answers with the old configuration for a moment.
    assert wait_until(lambda: _created(settings), lambda made: made is not None) == []


def _created(settings: KafkaSettings) -> list[str] | None:
    """Create the topics; None while the broker says that some differ."""
    try:
        return create_topics(settings)
    except TopicsMissing:
        return None


def test_a_cluster_that_does_not_tell_how_it_keeps_topics_is_taken_with_a_warning(
    guarded: ProcessorSettings, guarded_broker: GuardedBroker, caplog: pytest.LogCaptureFixture
):
    create_topics(guarded)
    superuser = admin(plain_clients(guarded_broker.bootstrap))
    seeing = AclBinding(
        ResourceType.TOPIC, guarded.topic_prefix, ResourcePatternType.PREFIXED,
        "User:mill", "*", AclOperation.DESCRIBE, AclPermissionType.ALLOW,
    )  # fmt: skip
    superuser.create_acls([seeing])[seeing].result(30)

    def told() -> list[str]:
        check_topics(guarded)
        return caplog.messages

    assert "was not checked" in wait_until(told)[0]


def test_topics_are_not_created_by_asking_for_them(broker, topic_prefix):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.list_topics(f"{topic_prefix}mistyped", timeout=10)
    assert f"{topic_prefix}mistyped" not in admin.list_topics(timeout=10).topics
