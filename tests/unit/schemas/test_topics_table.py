"""The table of topics says what the design promises to those who read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.jobs import Priority
from schemas.topics import JOBS_RESULTS, JOBS_STATE, PRIORITY_TOPICS, TEMPLATES, TOPICS

DOCS = Path(__file__).parents[3] / "docs"

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


def test_topics_that_a_worker_reads_together_have_the_partitions_of_the_setting() -> None:
    counts = {topic.name: topic.partition_count(8) for topic in TOPICS}
    jobs = {name for name in counts if name.startswith("jobs.")} - {"jobs.dead-letter"}
    assert {counts[name] for name in jobs} == {8}
    assert counts["jobs.dead-letter"] == counts["workers.heartbeats"] == counts["templates"] == 1


def test_topics_of_one_partition_are_accepted_with_more() -> None:
    assert TEMPLATES.accepts_partitions(1, 8) and TEMPLATES.accepts_partitions(8, 8)
    assert JOBS_STATE.accepts_partitions(8, 8) and not JOBS_STATE.accepts_partitions(1, 8)


@pytest.mark.parametrize("page", ["events.md", "kafka.md"])
def test_the_pages_name_the_number_of_topics_and_of_their_partitions(page: str) -> None:
    stated = re.findall(r"(\d+) topics with (\d+)\s+partitions", (DOCS / page).read_text())
    total = sum(topic.partition_count(8) for topic in TOPICS)
    assert stated, f"docs/{page} says nothing about partitions"
    assert set(stated) == {(str(len(TOPICS)), str(total))}, f"correct docs/{page}"


def test_every_topic_of_one_partition_is_named_as_such() -> None:
    text = " ".join((DOCS / "events.md").read_text().split())
    (named,) = re.findall(r"same partition of several\. (.*?) have one\.", text)
    assert set(re.findall(r"`([a-z0-9.-]+)`", named)) == {
        topic.name for topic in TOPICS if topic.partition_count(8) == 1
    }


def test_the_page_on_security_says_what_access_to_each_topic_amounts_to() -> None:
    text = (DOCS / "security.md").read_text()
    rows = re.findall(r"^\| (`[a-z].*?`) \| .+? \| .+? \|$", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z0-9.-]+)`", row)}
    assert named == {topic.name for topic in TOPICS}
