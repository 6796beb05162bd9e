"""The lag of partitions, from their ends and from what the processors committed."""

from __future__ import annotations

import pytest

from imagemill.kafka.topic_partition import TopicPartition
from producer_api.jobs.consumer_lag import lag_of

WHERE = TopicPartition("jobs.normal", 0)


@pytest.mark.parametrize(
    ("start", "committed", "end", "lag"),
    [
        (0, 40, 100, 60),
        (0, 100, 100, 0),
        (30, None, 100, 70),  # no worker has been there, and the first 30 are gone
        (50, 40, 100, 50),  # ten that were never processed are gone
        (0, 900, 100, 100),  # created again since: a consumer begins at the start
    ],
)
def test_the_lag_is_what_a_consumer_has_left(
    start: int, committed: int | None, end: int, lag: int
) -> None:
    offsets = {} if committed is None else {WHERE: committed}
    assert lag_of({WHERE: end}, {WHERE: start}, offsets) == {WHERE: lag}
