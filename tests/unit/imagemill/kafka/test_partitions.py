"""Partitions of keys, with aiokafka's partitioner as the reference."""

from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from imagemill.kafka.partitions import partition_of

_reference = DefaultPartitioner()


@given(st.binary(max_size=80), st.integers(1, 200))
def test_keys_belong_where_the_producers_put_them(key: bytes, partitions: int) -> None:
    numbers = list(range(partitions))
    assert partition_of(key, partitions) == _reference(key, numbers, numbers)


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_that_of_javas_clients(key: bytes, murmur2: int) -> None:
    """The values are those of UtilsTest.testMurmur2 in Apache Kafka."""
    assert partition_of(key, 2**31) == murmur2 & 0x7FFFFFFF
