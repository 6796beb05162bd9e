"""Partitions of message keys, computed as the producers compute them."""

from __future__ import annotations

from aiokafka.partitioner import murmur2

_POSITIVE = 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition, from 0, of a key in a topic of so many partitions.

    Java's default partitioner, librdkafka's `murmur2_random` and aiokafka agree on it.
    """
    return (murmur2(key) & _POSITIVE) % partitions
