"""Partitions of keys, with aiokafka's partitioner as the independent reference."""

from __future__ import annotations

from itertools import pairwise

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from imagemill.kafka.partitions import into_partition, partition_of
from producer_api.jobs.ids import JobIds, new_id

_reference = DefaultPartitioner()


@given(st.binary(max_size=80), st.integers(1, 200))
def test_keys_belong_where_the_producers_put_them(key: bytes, partitions: int) -> None:
    numbers = list(range(partitions))
    assert partition_of(key, partitions) == _reference(key, numbers, numbers)


@given(st.uuids(), st.integers(1, 64), st.data())
def test_an_ending_takes_an_id_to_any_partition(uuid: object, partitions: int, data) -> None:
    wanted = data.draw(st.integers(0, partitions - 1))
    moved = into_partition(str(uuid), range(wanted, wanted + 1), partitions)
    assert moved[:-4] == str(uuid)[:-4]
    assert partition_of(moved.encode(), partitions) == wanted


@pytest.mark.parametrize("partitions", [1, 8, 16, 200])
def test_ids_of_a_moment_share_partitions_only_while_many_are_made(partitions: int) -> None:
    now_s = 0.0

    def made(count: int, per_s: float) -> list[int]:
        nonlocal now_s
        numbers = []
        for _ in range(count):
            now_s += 1 / per_s
            numbers.append(partition_of(ids.new().encode(), partitions))
        return numbers

    def changes(numbers: list[int]) -> int:
        return sum(one != next for one, next in pairwise(numbers))

    ids = JobIds(partitions, clock=lambda: now_s)
    few, many = made(4000, per_s=50), made(4000, per_s=1000)
    assert set(few) == set(many) == set(range(partitions))
    assert changes(few) >= 2000 or partitions == 1
    # 50 turns a second: each of them has one partition, or a share of so many.
    assert changes(many) <= 400 or partitions > 64


def test_ids_of_a_busy_api_are_ids_as_others() -> None:
    ids = JobIds(16)
    made = [ids.new() for _ in range(500)]
    assert len(set(made)) == 500
    assert {len(text) for text in made} == {len(new_id())}
