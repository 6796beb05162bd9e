"""Kafka client configurations, and the topics: created, checked, compared with the table."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from imagemill.environment import SettingsInvalid
from imagemill.pace import Pace
from imagemill.settings import KafkaSettings
from imagemill.topicconfig import differing
from schemas.topics import MAX_MESSAGE_BYTES, TOPICS, Topic

# A closing producer waits this long for its thread.
_POLL_S = 0.1
# While so many messages are sent they are handed over together, this far apart: librdkafka makes a
# request of what it has when it looks. Its own linger would hold up a single message as well.
_HIGH_PER_S = 200
_GATHER_S = 0.005


class KafkaUnavailable(Exception):
    """The cluster did not answer in time, or refuses us; trying again may help."""


class TopicsMissing(Exception):
    """The cluster lacks topics, or has them otherwise than they must be; the text says which."""


class TopicsDiffer(TopicsMissing):
    """The cluster keeps topics so that messages would be lost; the text has the remedy."""


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What every librdkafka client needs: address and security."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        config |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username or "",
            "sasl.password": password.get_secret_value() if password else "",
        }
    key_password = settings.kafka_ssl_key_password
    optional = {
        "ssl.ca.location": settings.kafka_ssl_ca_location,
        "ssl.certificate.location": settings.kafka_ssl_certificate_location,
        "ssl.key.location": settings.kafka_ssl_key_location,
        "ssl.key.password": key_password.get_secret_value() if key_password else None,
    }
    return config | {name: str(value) for name, value in optional.items() if value is not None}


def producer_config(settings: KafkaSettings, *, delivery_timeout_s: float = 30.0) -> dict[str, Any]:
    """An idempotent producer, acks=all, that partitions as Java's and Faust's producers do."""
    return client_config(settings) | {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "delivery.timeout.ms": int(delivery_timeout_s * 1000),
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": 1000,
    }


def consumer_config(settings: KafkaSettings, group: str) -> dict[str, Any]:
    """A consumer of a group that commits by hand and starts at the beginning."""
    return client_config(settings) | {
        "group.id": settings.group(group),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
        "session.timeout.ms": 10_000,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }


class AsyncProducer:
    """A confluent-kafka producer whose deliveries are awaited from one asyncio loop.

    librdkafka calls back on the thread that polls. That is one of this object's own, which wakes
    the loop once for all that it has to tell: polls by the loop itself would be as many wake-ups
    as there are milliseconds until the broker answers, and notice the answer half of one late.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._producer = Producer(config)
        self._pace = Pace(_HIGH_PER_S)
        self._gathered: list[tuple[asyncio.Future[None], Callable[[], None]]] = []
        self._under_way = 0
        self._told: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="producer", daemon=True)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Send a message and wait until all replicas have it.

        Raises:
            KafkaUnavailable: not acknowledged within the delivery timeout, or the queue is full.
        """
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            self._told.append((delivered, error))
            # With more than one, the loop has been woken and has not come to the first yet.
            if len(self._told) == 1 and not loop.is_closed():
                loop.call_soon_threadsafe(self._settle)

        produce = partial(
            self._producer.produce, topic, value, key, headers=headers, on_delivery=on_delivery
        )
        self._gathered.append((delivered, produce))
        # One sender that awaits each of its messages has nothing to wait for, however many it has.
        others = self._under_way + len(self._gathered) > 1
        if not self._pace.count(others):
            self._hand_over()
        elif len(self._gathered) == 1:
            loop.call_later(_GATHER_S, self._hand_over)
        await delivered

    def _hand_over(self) -> None:
        """Give librdkafka what was gathered."""
        gathered, self._gathered = self._gathered, []
        for delivered, produce in gathered:
            try:
                produce()
                self._under_way += 1
            except (BufferError, KafkaException) as exc:
                if not delivered.done():
                    delivered.set_exception(KafkaUnavailable(str(exc)))
        if gathered and self._thread.ident is None:
            self._thread.start()

    def _settle(self) -> None:
        """On the loop: let those go on whose messages were delivered, or not."""
        while self._told:
            delivered, error = self._told.popleft()
            self._under_way -= 1
            if delivered.done():
                continue
            if error is None:
                delivered.set_result(None)
            else:
                delivered.set_exception(KafkaUnavailable(error.str()))

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Wait for what is under way."""
        self._hand_over()
        await asyncio.to_thread(self._producer.flush, timeout_s)
        self._closing.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)


def admin(settings: KafkaSettings, heard: list[KafkaError] | None = None) -> AdminClient:
    """An admin client of the cluster.

    With a list, what its connections end of is put there when the client is polled, not logged:
    some twenty lines a second.

    Raises:
        SettingsInvalid: a certificate or key cannot be used.
    """
    # Without librdkafka's notes (6), one of which is of its own queue when a client is let go.
    options: dict[str, Any] = {"socket.timeout.ms": 10_000, "log_level": 5}
    if heard is not None:
        options |= {"log_level": 0, "error_cb": heard.append}
    try:
        return AdminClient(client_config(settings) | options)
    except KafkaException as exc:
        raise SettingsInvalid(f"the settings of Kafka do not work: {exc.args[0].str()}") from exc


def refusal(heard: Iterable[KafkaError]) -> str | None:
    """Why the cluster does not let us in, or we do not trust it, if that is among these errors."""
    for error in heard:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            return error.str()
    return None


def last_trouble(heard: Iterable[KafkaError]) -> str | None:
    """What the last connection ended of, if that is among these errors."""
    troubles = [each.str() for each in heard if each.code() != KafkaError._ALL_BROKERS_DOWN]
    return troubles[-1] if troubles else None


@contextmanager
def _answering(settings: KafkaSettings) -> Iterator[AdminClient]:
    """A client; makes KafkaUnavailable of a cluster that does not answer it."""
    heard: list[KafkaError] = []
    client = admin(settings, heard)
    try:
        yield client
    except KafkaException as exc:
        client.poll(0)
        where = settings.kafka_bootstrap_servers
        if refused := refusal(heard):
            message = f"the Kafka cluster at {where} refuses us: {refused}"
        else:
            reason = last_trouble(heard) or exc.args[0].str()
            message = f"no Kafka broker answered at {where} ({reason})"
        raise KafkaUnavailable(message) from exc


def _partitions(client: AdminClient, timeout_s: float) -> dict[str, int]:
    """Partition counts of the cluster's topics."""
    topics = client.list_topics(timeout=timeout_s).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def create_topics(settings: KafkaSettings, *, timeout_s: float = 30.0) -> list[str]:
    """Create the topics that are missing; returns their names. Safe to call at any time.

    Raises:
        KafkaUnavailable: no broker answered in time.
        TopicsMissing: a topic could not be created, or exists otherwise than it must be.
    """
    with _answering(settings) as client:
        present = _partitions(client, timeout_s)
    missing = [topic for topic in TOPICS if settings.topic(topic.name) not in present]
    created = [settings.topic(topic.name) for topic in missing]
    failures = [failure for failure in _create(settings, missing, timeout_s) if failure]
    if failures:
        raise TopicsMissing("topics could not be created: " + "; ".join(failures))
    _await_topics(settings, timeout_s)
    return created


def _await_topics(settings: KafkaSettings, timeout_s: float) -> None:
    """Check the topics until they are right: a broker shows new ones only after a moment."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return check_topics(settings, timeout_s=timeout_s)
        except TopicsDiffer:
            raise
        except TopicsMissing:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _create(settings: KafkaSettings, topics: Iterable[Topic], timeout_s: float) -> Iterable[str]:
    new = [
        NewTopic(
            settings.topic(topic.name),
            num_partitions=settings.topic_partitions,
            replication_factor=settings.topic_replication_factor,
            config=dict(topic.config()),
        )
        for topic in topics
    ]
    if not new:
        return
    client = admin(settings)  # must outlive the futures: its end cancels them
    for name, future in client.create_topics(new, operation_timeout=timeout_s).items():
        try:
            future.result(timeout_s)
        except KafkaException as exc:
            # Another process may create them at the same moment; that is as good.
            if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                yield f"{name}: {exc.args[0].str()}"


def check_topics(settings: KafkaSettings, *, timeout_s: float = 10.0) -> None:
    """Check that every topic is there, with the right number of partitions, and rightly kept.

    Raises:
        KafkaUnavailable: no broker answered in time.
        TopicsMissing: the text lists what differs and says what to do.
    """
    with _answering(settings) as client:
        present = _partitions(client, timeout_s)
    problems = []
    for topic in TOPICS:
        name = settings.topic(topic.name)
        if name not in present:
            problems.append(f"{name} is missing")
        elif present[name] != settings.topic_partitions:
            problems.append(
                f"{name} has {present[name]} partitions, not {settings.topic_partitions}"
            )
    if problems:
        raise TopicsMissing(
            "; ".join(problems) + ". Run `imagemill topics create`, or set IMAGEMILL_TOPIC_PREFIX "
            "or IMAGEMILL_TOPIC_PARTITIONS to what the cluster has."
        )
    with _answering(settings) as client:
        differences = differing(client, settings, timeout_s)
    if differences:
        raise TopicsDiffer(
            "\n".join(["topics are kept otherwise than they must be:", *differences])
        )
