"""The local broker keeps what it acknowledged, however it ends."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from imagemill.local.broker import LocalBroker


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


def test_what_was_acknowledged_survives_a_kill_and_a_stop(own_broker: LocalBroker):
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    topic = NewTopic("kept", num_partitions=1, replication_factor=1)
    admin.create_topics([topic])["kept"].result(30)
    where = own_broker.bootstrap

    write(where, "kept", [b"before the kill"])
    own_broker.kill()
    assert own_broker.pid is None
    own_broker.start()
    assert own_broker.bootstrap == where

    write(where, "kept", [b"before the stop"])
    own_broker.stop()
    own_broker.start()
    assert read(where, "kept", 2) == [b"before the kill", b"before the stop"]


def test_topics_are_not_created_by_asking_for_them(broker, topic_prefix):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.list_topics(f"{topic_prefix}mistyped", timeout=10)
    assert f"{topic_prefix}mistyped" not in admin.list_topics(timeout=10).topics
