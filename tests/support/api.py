"""An API in this process on a free port, and Kafka clients that read and write its topics."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import requests
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from imagemill.kafka.config import client_config, producer_config
from imagemill.kafka.topics import admin, create_topics
from imagemill.local.stack.ready import api_is_ready
from imagemill.settings import ApiSettings
from producer_api.app import create_app
from producer_api.serving.ports import ApiServer
from schemas import cloudevents, topics
from schemas.events import JobExpired, JobSubmitted
from schemas.jobs import JobState
from schemas.times import now
from tests.support.waiting import DEADLINE_S, wait_until


def fresh_settings(bootstrap: str, home: Path, **fields: Any) -> ApiSettings:
    """Make settings of an API that shares nothing with other tests but the broker."""
    defaults: dict[str, Any] = {
        "kafka_bootstrap_servers": bootstrap,
        "home": home,
        "topic_prefix": f"t{uuid.uuid4().hex[:8]}.",
        "topic_partitions": 2,
        "port": 0,
        "host": "127.0.0.1",
        # A busy machine may take seconds to catch up; a read waits for that.
        "catch_up_timeout_s": DEADLINE_S,
    }
    return ApiSettings(_env_file=None, **(defaults | fields))  # type: ignore[call-arg]


class RunningApi:
    """An API on a thread; `url` is its address once started."""

    def __init__(self, settings: ApiSettings) -> None:
        self.settings = settings
        self.url = ""
        self.session = requests.Session()
        self._started = threading.Event()
        self._stop: asyncio.Event
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, *, ready: bool = True) -> RunningApi:
        """Start to serve; with `ready`, wait until the API has read its topics to their ends."""
        self._thread.start()
        self._started.wait(DEADLINE_S)
        if self._failure is not None:
            raise self._failure
        if ready:
            wait_until(lambda: api_is_ready(self._reached))
        return self

    def stop(self) -> None:
        """Stop as SIGTERM does; a second call does nothing."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the API did not stop"

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = ApiServer(create_app(self.settings), self.settings)
            await server.start()
        except BaseException as error:
            self._failure = error
            self._started.set()
            raise
        host, port = server.address
        self._reached = self.settings.model_copy(update={"port": port})
        self.url = f"{self.settings.scheme}://{host}:{port}"
        self._started.set()
        await self._stop.wait()
        await server.stop()

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=DEADLINE_S, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=DEADLINE_S, **options)

    def put(self, path: str, **options: Any) -> requests.Response:
        return self.session.put(self.url + path, timeout=DEADLINE_S, **options)

    def stored_files(self) -> list[Path]:
        """List all files of the folder store, unfinished uploads included."""
        # os.walk skips folders that a sweep deletes meanwhile.
        walk = os.walk(self.settings.home / "objects")
        return [Path(folder, name) for folder, _, names in walk for name in names]


# Answers of a broker that stood still and elects leaders again.
_NO_LEADER_YET = (KafkaError.FENCED_LEADER_EPOCH, KafkaError._NOENT)


class Topics:
    """A Kafka client that writes and reads the topics of one set of settings."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        create_topics(settings)
        self._producer = Producer(producer_config(settings))
        self._admin = admin(settings)
        self._consumer = Consumer(
            client_config(settings)
            | {
                "group.id": "test",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # By default a partition without messages delays the others by 500 ms.
                "fetch.wait.max.ms": 10,
            }
        )

    def close(self) -> None:
        """Close the clients: open ones try for ever to reach a stopped broker."""
        self._consumer.close()
        del self._producer, self._admin

    def publish(
        self, topic: str, key: str, value: bytes | None, headers: list[tuple[str, bytes]] | None
    ) -> None:
        """Write a message and wait for the broker's acknowledgement."""
        self._producer.produce(self._settings.topic(topic), value, key.encode(), headers=headers)
        assert self._producer.flush(DEADLINE_S) == 0

    def publish_state(self, state: JobState) -> None:
        """Write a job's state as the track agent does."""
        value, headers = cloudevents.encode_state(state)
        self.publish(topics.JOBS_STATE.name, state.job_id, value, headers)

    def end(self, job: JobSubmitted, revision: int = 5, **fields: Any) -> JobState:
        """Write the state of a job that succeeded, as the track agent does."""
        state = JobState(
            **job.model_dump(exclude={"inputs"}),
            revision=revision, status="succeeded", outcomes="s" * job.total,
            started_at=now(), finished_at=now(), attempts=1, **fields,
        )  # fmt: skip
        self.publish_state(state)
        return state

    def forget_expired(self) -> None:
        """Delete the states of expired jobs, as the track agent does."""
        for message in self.messages(topics.JOBS_CONTROL.name):
            event = cloudevents.decode(message.headers(), message.value())
            if isinstance(event, JobExpired):
                self.publish(topics.JOBS_STATE.name, event.job_id, None, None)

    def messages(self, *names: str) -> list[Any]:
        """Read the topics to their ends; return all messages."""
        known = self._admin.list_topics(timeout=DEADLINE_S).topics
        wanted = {
            TopicPartition(name, number): OffsetSpec.latest()
            for name in map(self._settings.topic, names)
            for number in known[name].partitions
        }
        ends = wait_until(lambda: self._ends(wanted), lambda found: found is not None)
        left = {(where.topic, where.partition): end for where, end in ends.items() if end}
        self._consumer.assign([TopicPartition(*where, OFFSET_BEGINNING) for where in left])
        found = []
        while left:
            message = self._consumer.poll(DEADLINE_S)
            assert message is not None and message.error() is None
            found.append(message)
            where = (message.topic(), message.partition())
            if message.offset() + 1 >= left[where]:
                self._consumer.incremental_unassign([TopicPartition(*where)])
                del left[where]
        return found

    def _ends(self, wanted: dict[TopicPartition, OffsetSpec]) -> dict[TopicPartition, int] | None:
        """Return the end offsets; None while the broker elects a leader, as after a pause of it."""
        try:
            return {
                where: answer.result(DEADLINE_S).offset
                for where, answer in self._admin.list_offsets(wanted).items()
            }
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER_YET:
                raise
            return None

    def submissions(self) -> list[JobSubmitted]:
        """Read all jobs in the priority topics."""
        names = [topic.name for topic in topics.PRIORITY_TOPICS.values()]
        events = [
            cloudevents.decode(found.headers(), found.value()) for found in self.messages(*names)
        ]
        return [event for event in events if isinstance(event, JobSubmitted)]
