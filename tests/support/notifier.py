"""A notifier process on the real broker, job ends for it to post, and a receiver that verifies."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from aiohttp import web
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from standardwebhooks import Webhook as Standard

from imagemill.kafka.config import client_config
from imagemill.settings import NotifierSettings
from schemas import cloudevents
from schemas.events import JobFinished
from schemas.jobs import Item, JobState, JobStatus, Progress, Webhook
from schemas.topics import JOBS_RESULTS, JOBS_STATE, WEBHOOKS_ENDPOINTS
from schemas.webhooks import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from tests.support.api import Topics
from tests.support.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).parents[2]
_AWAY = {KafkaError.NOT_COORDINATOR, KafkaError._TRANSPORT, KafkaError._TIMED_OUT}
SECRET = "whsec_" + base64.b64encode(b"a key of more than 24 bytes").decode()


def notifier_settings(bootstrap: str, home: Path, prefix: str, **fields: Any) -> NotifierSettings:
    """Settings with short times, and loopback allowed."""
    defaults: dict[str, Any] = {
        "kafka_bootstrap_servers": bootstrap,
        "home": home,
        "topic_prefix": prefix,
        "topic_partitions": 2,
        "webhook_secret": SECRET,
        "webhook_timeout_s": 1.0,
        "webhook_attempts": 3,
        "webhook_retry_base_s": 0.05,
        "webhook_retry_max_s": 30.0,
        "url_allow": "127.0.0.1",
    }
    return NotifierSettings(_env_file=None, **(defaults | fields))  # type: ignore[call-arg]


class NotifierProcess:
    """`python -m notifier` with those settings, in a process of its own as in production."""

    def __init__(self, settings: NotifierSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> NotifierProcess:
        """Returns once it reads."""
        environment = os.environ | _environment(self.settings)
        command = [sys.executable, "-m", "notifier"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment)
        url = f"http://127.0.0.1:{self.settings.notifier_port}/readyz"
        wait_until(lambda: _answers(url))
        return self

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(DEADLINE_S)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(DEADLINE_S)

    def close(self) -> None:
        """Ends it, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _environment(settings: NotifierSettings) -> dict[str, str]:
    given = settings.model_dump(exclude_unset=True) | {"webhook_secret": SECRET}
    names = {"kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS"}
    return {names.get(name, f"IMAGEMILL_{name.upper()}"): str(given[name]) for name in given}


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


class Results:
    """`jobs.results` as the processor writes it, and what the notifier makes of it."""

    def __init__(self, settings: NotifierSettings) -> None:
        self._settings = settings
        self._topics = Topics(settings)  # type: ignore[arg-type]

    def finish(self, job_id: str, url: str | None, **changes: Any) -> JobFinished:
        """Publish the end of a job with that webhook."""
        webhook = Webhook(url=url, style=changes.pop("style", None)) if url else None
        event = finished(job_id, webhook, **changes)
        value, headers = cloudevents.encode(event)
        self._topics.publish(JOBS_RESULTS.name, job_id, value, headers)
        return event

    def state(self, state: JobState) -> None:
        """Publish how a job is."""
        value, headers = cloudevents.encode_state(state)
        self._topics.publish(JOBS_STATE.name, state.job_id, value, headers)

    def endpoint(self, made: WebhookEndpoint) -> None:
        """Publish a webhook endpoint."""
        value = made.model_dump_json().encode()
        self._topics.publish(WEBHOOKS_ENDPOINTS.name, made.endpoint_id, value, [])

    def publish(self, key: str, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Publish any message."""
        self._topics.publish(JOBS_RESULTS.name, key, value, headers)

    def attempts(self, job_id: str | None = None) -> list[WebhookAttempt]:
        """The recorded attempts of a job's delivery, or of all, oldest first."""
        found = self._records("webhooks.attempts", job_id)
        return sorted(found, key=lambda attempt: attempt.at)

    def waited(self, job_id: str | None = None) -> list[WebhookDelivery]:
        """The job's deliveries, or all, as they came to webhooks.retry."""
        return self._records("webhooks.retry", job_id)

    def given_up(self, job_id: str) -> list[WebhookDelivery]:
        """The job's deliveries in the dead-letter topic."""
        return self._records("webhooks.dead-letter", job_id)

    def dead_letters(self) -> list[Any]:
        """The messages of jobs.dead-letter."""
        return self._topics.messages("jobs.dead-letter")

    def _records(self, topic: str, job_id: str | None) -> list[Any]:
        messages = self._topics.messages(topic)
        found = (cloudevents.decode_webhook(m.headers(), m.value()) for m in messages)
        return [record for record in found if job_id in (None, record.job_id)]

    def lag(self) -> int | None:
        """Messages of `jobs.results` that are not committed; None while no broker answers."""
        group = {"group.id": self._settings.group("notifier"), "enable.auto.commit": False}
        consumer = Consumer(client_config(self._settings) | group)
        try:
            name = self._settings.topic(JOBS_RESULTS.name)
            numbers = range(self._settings.topic_partitions)
            committed = consumer.committed([TopicPartition(name, n) for n in numbers], DEADLINE_S)
            ends = [consumer.get_watermark_offsets(place)[1] for place in committed]
            return sum(
                end - max(place.offset, 0) for end, place in zip(ends, committed, strict=True)
            )
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() not in _AWAY:
                raise
            return None
        finally:
            consumer.close()


def finished(job_id: str, webhook: Webhook | None, **changes: Any) -> JobFinished:
    """The end of a job of one image."""
    result = {"key": f"results/{job_id}/0.png", "url": f"http://localhost/files/{job_id}/0.png"}
    facts: dict[str, Any] = {
        "job_id": job_id,
        "status": JobStatus.SUCCEEDED,
        "operation": "remove-background",
        "params": {},
        "priority": "normal",
        "progress": Progress(total=1, processed=1, failed=0),
        "items": (Item(index=0, status=JobStatus.SUCCEEDED, result=result),),
        "error": None,
        "attempts": 1,
        "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": None,
        "finished_at": "2026-01-01T00:00:01.000Z",
        "metadata": {},
        "model": None,
        "webhook": webhook,
    }
    return JobFinished(**(facts | changes))


@dataclass
class Received:
    """One request that a receiver got; `event` is its verified body."""

    id: str
    event: dict[str, Any]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


Answer = Callable[[int], Awaitable[web.Response]]


async def ok(_time: int) -> web.Response:
    """The answer of a receiver that accepts."""
    return web.Response(status=204)


class Receiver:
    """An HTTP server that verifies what it gets and answers as a test wants.

    `answer` is called with how often that delivery has come, from 1.
    """

    def __init__(self, answer: Answer = ok) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.refused: list[Exception] = []
        self.url = ""

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.router.add_post("/hook", self._hook)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{port}/hook"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._runner.cleanup()

    async def _hook(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            event = Standard(SECRET).verify(await request.read(), headers)
        except Exception as error:  # the test fails on any, in `verified`
            self.refused.append(error)
            raise
        self.received.append(Received(headers["webhook-id"], event, headers))
        return await self.answer(self.times()[headers["webhook-id"]])

    def times(self) -> Counter[str]:
        """How often each delivery came."""
        return Counter(received.id for received in self.received)

    def jobs(self) -> set[str]:
        """The jobs whose end was posted."""
        return {received.event["data"]["job_id"] for received in self.received}

    async def until(
        self, wanted: Callable[[Receiver], bool], timeout_s: float = DEADLINE_S
    ) -> None:
        """Waits until this receiver is as wanted."""
        end = time.monotonic() + timeout_s
        while not wanted(self):
            assert time.monotonic() < end, f"only {self.times()} after {timeout_s} s"
            assert self.refused == []
            await asyncio.sleep(0.01)
