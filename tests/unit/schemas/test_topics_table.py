"""The table of topics says what the design promises to those who read them."""

from __future__ import annotations

from schemas.jobs import Priority
from schemas.topics import JOBS_RESULTS, JOBS_STATE, PRIORITY_TOPICS, TOPICS

DAY_MS = 24 * 3600 * 1000


def test_names_are_unique() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_each_priority_has_a_topic_of_its_name() -> None:
    assert {p: topic.name for p, topic in PRIORITY_TOPICS.items()} == {
        Priority.HIGH: "jobs.high",
        Priority.NORMAL: "jobs.normal",
        Priority.LOW: "jobs.low",
    }


def test_states_are_compacted_and_results_kept_for_a_week() -> None:
    assert JOBS_STATE.config()["cleanup.policy"] == "compact"
    assert "retention.ms" not in JOBS_STATE.config()
    assert JOBS_RESULTS.config()["cleanup.policy"] == "delete"
    assert JOBS_RESULTS.config()["retention.ms"] == str(7 * DAY_MS)


def test_what_others_may_read_is_marked_public() -> None:
    assert {topic.name for topic in TOPICS if topic.public} == {"jobs.state", "jobs.results"}


def test_dead_letters_outlive_what_they_came_from() -> None:
    kept = {topic.name: topic.retention_ms for topic in TOPICS}
    assert kept["jobs.dead-letter"] == 30 * DAY_MS
    assert kept["webhooks.dead-letter"] == 30 * DAY_MS


def test_every_topic_takes_a_job_of_many_urls() -> None:
    assert all(int(topic.config()["max.message.bytes"]) >= 4 * 1024**2 for topic in TOPICS)
