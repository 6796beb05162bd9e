"""The partitions that are read are those that the cluster has."""

from __future__ import annotations

import asyncio
import threading

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ClusterMetadata, PartitionMetadata, TopicMetadata

from imagemill.kafka.errors import KafkaUnavailable
from imagemill.kafka.partitions import partition_of
from imagemill.kafka.topic_partition import TopicPartition
from producer_api.read_model.partitions import ReadPartitions, partitions_in


def cluster(**counts: int) -> ClusterMetadata:
    """The metadata of a cluster with these topics."""
    found = ClusterMetadata()
    for name, count in counts.items():
        topic = found.topics[name] = TopicMetadata()
        topic.topic = name
        topic.partitions = {number: PartitionMetadata() for number in range(count)}
    return found


class Broker:
    """Stands in for confluent-kafka's admin client; answers once `released`."""

    def __init__(self, answer: ClusterMetadata | KafkaException) -> None:
        self.answer = answer
        self.requests = 0
        self.released = threading.Event()

    def list_topics(self, timeout: float) -> ClusterMetadata:
        self.requests += 1
        assert self.released.wait(10)
        if isinstance(self.answer, KafkaException):
            raise self.answer
        return self.answer


def test_each_topic_has_the_partitions_that_the_cluster_has() -> None:
    found = partitions_in(cluster(jobs=2, templates=1, other=5), ["jobs", "templates"])
    assert found == [
        TopicPartition("jobs", 0),
        TopicPartition("jobs", 1),
        TopicPartition("templates", 0),
    ]


@pytest.mark.parametrize("known", [cluster(), cluster(jobs=0)], ids=["no topic", "no partition"])
def test_a_topic_that_is_not_there_yet_is_an_error(known: ClusterMetadata) -> None:
    with pytest.raises(KafkaException, match="jobs has no partitions"):
        partitions_in(known, ["jobs"])


async def test_a_key_is_looked_for_in_one_partition_of_each_topic() -> None:
    broker = Broker(cluster(jobs=8, templates=1, heartbeats=3))
    broker.released.set()
    partitions = ReadPartitions(broker, ["jobs", "templates", "heartbeats"])  # type: ignore[arg-type]
    assert await partitions.of_keys(["portrait"]) == [
        TopicPartition("jobs", partition_of(b"portrait", 8)),
        TopicPartition("templates", 0),
        TopicPartition("heartbeats", partition_of(b"portrait", 3)),
    ]


async def test_those_who_ask_together_share_a_request() -> None:
    broker = Broker(cluster(jobs=1))
    partitions = ReadPartitions(broker, ["jobs"])  # type: ignore[arg-type]
    asking = [asyncio.create_task(partitions.all()) for _ in range(20)]
    await asyncio.sleep(0)
    broker.released.set()
    assert await asyncio.gather(*asking) == [[TopicPartition("jobs", 0)]] * 20
    assert broker.requests == 1


async def test_a_failure_reaches_its_callers_and_the_next_one_asks_again() -> None:
    broker = Broker(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    broker.released.set()
    partitions = ReadPartitions(broker, ["jobs"])  # type: ignore[arg-type]
    with pytest.raises(KafkaUnavailable, match="the partitions of the topics are unknown"):
        await partitions.all()
    broker.answer = cluster(jobs=1)
    assert await partitions.all() == [TopicPartition("jobs", 0)]
