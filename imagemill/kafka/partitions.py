"""Java's partitioner: which partition of a topic a key belongs to.

The hash is murmur2 as in org.apache.kafka.common.utils.Utils; librdkafka's `murmur2_random` and
aiokafka's default agree with it.
"""

from __future__ import annotations

import itertools
from functools import cache

_SEED = 0x9747B28C
_M = 0x5BD1E995
_BITS = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition, from 0, of a topic with so many."""
    whole = len(key) & ~3
    state = _absorbed(key[:whole], len(key))
    if rest := key[whole:]:
        state = (state ^ int.from_bytes(rest, "little")) * _M & _BITS
    return (_finished(state) & _POSITIVE) % partitions


def into_partition(text: str, wanted: range, partitions: int) -> str:
    """The text with other last four letters, so that as a key it belongs to a wanted partition.

    They become four lower-case hexadecimal digits. `text` is ASCII, its length a multiple of
    four. Where no such digits are found, it stays as it is.
    """
    kept = text[:-4]
    state = _absorbed(kept.encode(), len(text)) * _M & _BITS
    endings = _endings()
    first = hash(text) % len(endings)
    # From the middle, that ids differ in their ends too.
    for digits, mixed in itertools.chain(endings[first:], endings[:first]):
        if (_finished(state ^ mixed) & _POSITIVE) % partitions in wanted:
            return kept + digits
    return text


def _absorbed(words: bytes, length: int) -> int:
    """The hash's state after whole words of a key of so many bytes."""
    state = _SEED ^ length
    for start in range(0, len(words), 4):
        state = (state * _M & _BITS) ^ _mixed(words[start : start + 4])
    return state


def _mixed(word: bytes) -> int:
    mixed = int.from_bytes(word, "little") * _M & _BITS
    return (mixed ^ mixed >> 24) * _M & _BITS


def _finished(state: int) -> int:
    state = (state ^ state >> 13) * _M & _BITS
    return state ^ state >> 15


@cache
def _endings() -> list[tuple[str, int]]:
    """Words of four hexadecimal digits, mixed as the hash does: enough for any partition."""
    words = [f"{number << 6:04x}" for number in range(1024)]
    return [(word, _mixed(word.encode())) for word in words]
