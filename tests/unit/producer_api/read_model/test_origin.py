"""Reasons to fill a file again: another cluster, another topic, too long ago."""

from __future__ import annotations

import pytest

from producer_api.read_model.origin import Origin

DAY_S = 86_400.0
KNOWN = Origin("cluster", {"jobs.state": "id-1", "templates": "id-2"}, 1000.0)


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        (Origin("cluster", KNOWN.topic_ids, 1000.0 + DAY_S), None),
        (Origin("cluster", KNOWN.topic_ids | {"jobs.low": "id-3"}, 1001.0), None),
        (Origin("cluster", {"jobs.state": "id-1"}, 1001.0), None),
        (Origin("other", KNOWN.topic_ids, 1001.0), "another Kafka cluster"),
        (Origin("cluster", KNOWN.topic_ids | {"templates": "id-9"}, 1001.0), "topic templates"),
        (Origin("cluster", KNOWN.topic_ids, 1001.0 + DAY_S), "not read for more than the 24 h"),
    ],
)
def test_rows_are_kept_while_they_fit_the_topics(present: Origin, reason: str | None) -> None:
    found = KNOWN.outdated_reason(present)
    assert found is None if reason is None else found is not None and reason in found
