"""The read model's file across restarts: kept, or filled again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from imagemill.kafka.errors import TopicsMissing
from imagemill.kafka.topics import admin, check_topics, create_topics
from imagemill.settings import ApiSettings
from producer_api.read_model import rebuild
from schemas import cloudevents, topics
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput
from schemas.times import DAY_S, from_epoch, now
from tests.support.api import RunningApi, Topics
from tests.support.waiting import wait_until

Serve = Callable[..., tuple[RunningApi, Topics]]
Restart = Callable[[ApiSettings], RunningApi]


@pytest.fixture
def restart() -> Iterator[Restart]:
    """Starts another API on the same file and topics; the first one must have stopped."""
    started: list[RunningApi] = []

    def start(settings: ApiSettings) -> RunningApi:
        started.append(RunningApi(settings))
        return started[-1].start()

    yield start
    for running in started:
        running.stop()


def publish(kafka: Topics, *job_ids: str, created_at: str = "") -> list[JobSubmitted]:
    jobs = [
        JobSubmitted(
            job_id=job_id, operation="noop", total=1, created_at=created_at or now(),
            inputs=(ItemInput(key=f"uploads/{job_id}/0"),),
        )
        for job_id in job_ids
    ]  # fmt: skip
    for job in jobs:
        kafka.publish(topics.JOBS_NORMAL.name, job.job_id, *cloudevents.encode(job))
    return jobs


def listed(api: RunningApi) -> dict[str, str]:
    """The status of each job of the first page."""
    answer = api.get("/v1/jobs?limit=100")
    assert answer.status_code == 200
    return {job["id"]: job["status"] for job in answer.json()["jobs"]}


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:05}" for number in range(count)]


def test_a_rebuild_of_many_batches_finds_every_job(
    serve: Serve, restart: Restart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api, kafka = serve()
    old = publish(kafka, *names("old", 5), created_at=from_epoch(time.time() - 8 * DAY_S))
    jobs = publish(kafka, *names("job", 30))
    for job in old + jobs[:20]:
        kafka.end(job)
    for job in old:
        kafka.publish(topics.JOBS_STATE.name, job.job_id, None, None)
    wait_until(lambda: sorted(listed(api)), lambda found: found == names("job", 30))
    monkeypatch.setattr(rebuild, "_BATCH_JOBS", 3)
    monkeypatch.setattr(rebuild, "_READ_MESSAGES", 2)
    other = restart(api.settings.model_copy(update={"projection_path": tmp_path / "other.db"}))
    assert listed(other) == listed(api)
    assert other.get("/v1/stats").json()["jobs"] == api.get("/v1/stats").json()["jobs"]


def test_a_topic_that_was_created_again_is_read_from_its_start(
    serve: Serve, restart: Restart
) -> None:
    api, kafka = serve()
    publish(kafka, *names("old", 4))
    wait_until(lambda: len(listed(api)), lambda count: count == 4)
    api.stop()
    create_again(api.settings, topics.JOBS_NORMAL)
    # More than were there: the old offsets are valid ones of the new topic.
    publish(kafka, *names("new", 12))
    again = restart(api.settings)
    assert sorted(listed(again)) == names("new", 12)


def create_again(settings: ApiSettings, wanted: topics.Topic, *, partitions: int = 0) -> None:
    """Delete a topic and create it as imagemill does, or with that many partitions."""
    client: AdminClient = admin(settings)
    topic = settings.topic(wanted.name)
    (deleted,) = client.delete_topics([topic], operation_timeout=20).values()
    deleted.result(20)
    wait_until(lambda: topic not in client.list_topics(timeout=5).topics)
    if partitions:
        new = NewTopic(topic, partitions, 1, config=dict(wanted.config()))
        (created,) = client.create_topics([new]).values()
        created.result(20)
    assert create_topics(settings) == ([] if partitions else [topic])


def test_templates_of_a_cluster_where_each_topic_has_several_partitions_are_all_read(
    serve: Serve, restart: Restart
) -> None:
    """Earlier versions created every topic with as many partitions as the setting has."""
    api, kafka = serve()
    api.stop()
    create_again(api.settings, topics.TEMPLATES, partitions=4)
    again = restart(api.settings)
    for name in names("template", 8):
        body = {"name": name, "operation": "noop"}
        assert again.post("/v1/templates", json=body).status_code == 201
    used = {message.partition() for message in kafka.messages(topics.TEMPLATES.name)}
    assert len(used) > 1, "the keys are not spread"
    listed_now = again.get("/v1/templates").json()["templates"]
    assert sorted(template["name"] for template in listed_now) == names("template", 8)
    for name in names("template", 8):
        assert again.get(f"/v1/templates/{name}").json()["name"] == name


def test_only_topics_that_workers_share_have_several_partitions(serve: Serve) -> None:
    api, _ = serve()
    found = admin(api.settings).list_topics(timeout=5).topics
    counts = {t.name: len(found[api.settings.topic(t.name)].partitions) for t in topics.TOPICS}
    assert counts == {t.name: t.partition_count(2) for t in topics.TOPICS}
    assert counts["jobs.normal"] == 2 and counts["templates"] == 1


def test_a_topic_of_jobs_with_another_number_of_partitions_is_refused(serve: Serve) -> None:
    api, _ = serve()
    api.stop()
    other = api.settings.model_copy(update={"topic_partitions": 3})
    with pytest.raises(TopicsMissing, match=r"jobs\.events has 2 partitions, not 3") as caught:
        check_topics(other)
    assert "templates" not in str(caught.value)


@pytest.mark.parametrize(("age_s", "kept"), [(3600, True), (25 * 3600, False)])
def test_a_job_whose_tombstone_was_missed_goes_with_a_file_that_is_too_old(
    serve: Serve, restart: Restart, age_s: float, kept: bool
) -> None:
    api, kafka = serve()
    publish(kafka, "job-there")
    wait_until(lambda: listed(api) == {"job-there": "queued"})
    api.stop()
    with closing(sqlite3.connect(api.settings.projection_file)) as file, file:
        # Its submission, state and tombstone came and were compacted away meanwhile.
        file.execute(
            "INSERT INTO jobs"
            " (job_id, revision, status, operation, priority, created_at, submitted)"
            " SELECT 'job-gone', revision, status, operation, priority, created_at,"
            " CAST(replace(CAST(submitted AS TEXT), 'job-there', 'job-gone') AS BLOB) FROM jobs"
        )
        file.execute("UPDATE origin SET current_at = ?", (time.time() - age_s,))
    again = restart(api.settings)
    expected = {"job-there": "queued"} | ({"job-gone": "queued"} if kept else {})
    assert listed(again) == expected
    assert again.get("/v1/jobs/job-gone").status_code == (200 if kept else 404)


def test_a_file_that_is_damaged_inside_is_filled_again(serve: Serve, restart: Restart) -> None:
    api, kafka = serve()
    publish(kafka, *names("job", 20))
    wait_until(lambda: len(listed(api)), lambda count: count == 20)
    api.stop()
    path = api.settings.projection_file
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"damaged!" * (len(content) // 8 - 1024))
    again = restart(api.settings)
    assert sorted(listed(again)) == names("job", 20)
