"""The value that names one partition of a topic."""

from __future__ import annotations

from imagemill.kafka.topic_partition import TopicPartition


def test_it_is_equal_to_the_plain_tuple_and_hashes_like_it():
    assert {TopicPartition("jobs", 3): "offset"}[("jobs", 3)] == "offset"


def test_it_reads_as_kafka_s_tools_write_it():
    assert str(TopicPartition("imagemill.jobs", 3)) == "imagemill.jobs-3"
