"""The dead-letter topics: read, explained, and put back where their messages came from."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as AskedPartition
from confluent_kafka.cimpl import Message

from imagemill.kafka.config import consumer_config, producer_config
from imagemill.kafka.errors import KafkaUnavailable, TopicsMissing
from imagemill.kafka.topic_partition import TopicPartition
from imagemill.settings import KafkaSettings
from schemas import cloudevents
from schemas.times import from_epoch, now
from schemas.topics import JOBS_DEAD_LETTER, TOPICS, WEBHOOKS_COMMANDS, WEBHOOKS_DEAD_LETTER, Topic
from schemas.webhooks import WebhookDelivery, WebhookReplay

DEAD_LETTER_TOPICS = (JOBS_DEAD_LETTER, WEBHOOKS_DEAD_LETTER)
# The name that ACLs grant; nothing is committed under it.
_GROUP = "api-projection"
_TIMEOUT_S = 10.0
_RETRY_S = 0.1
# A partition changes its leader, or was just created: the cluster answers again in a moment.
_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)
_Answer = TypeVar("_Answer")
_ADDED = ("imagemill-source-", "imagemill-error", "imagemill-omitted", "imagemill-replayed-from")
_BY_NAME = {topic.name: topic for topic in TOPICS}

Headers = list[tuple[str, bytes]]


class NotReplayable(Exception):
    """A dead letter cannot be put back; the text says why."""


@dataclass(frozen=True)
class DeadLetter:
    """A record of a dead-letter topic. Names of topics are without the prefix."""

    topic: str
    partition: int
    offset: int
    at: str
    """Time at which it was written there."""
    key: bytes | None
    value: bytes | None
    headers: Headers
    source_topic: str
    """Topic that the message was read from; empty for a delivery, which comes from no topic."""
    source_partition: int
    source_offset: int
    reason: str
    """Sentence that says why it is there."""

    @property
    def id(self) -> str:
        """`topic-partition@offset`, the name by which it is shown and put back."""
        return f"{TopicPartition(self.topic, self.partition)}@{self.offset}"

    @property
    def source(self) -> str:
        """The place that the message was read from, in the form of `id`."""
        if not self.source_topic:
            return ""
        place = TopicPartition(self.source_topic, self.source_partition)
        return f"{place}@{self.source_offset}"

    @property
    def type(self) -> str:
        """Type of the message, such as `io.imagemill.job.submitted.v1`; empty if it has none."""
        return header(self.headers, "ce_type")

    @property
    def replayed_from(self) -> str:
        """Id of the dead letter that was put back, and failed again as this one; else empty."""
        return header(self.headers, "imagemill-replayed-from")


class DeadLetters:
    """The dead letters of a cluster; `close` at the end."""

    def __init__(self, settings: KafkaSettings) -> None:
        """
        Raises:
            SettingsInvalid: the settings of the SASL mechanism do not work.
        """
        self._settings = settings
        self._consumer = Consumer(
            consumer_config(settings, _GROUP) | {"enable.partition.eof": True, "log_level": 0}
        )
        self._producer: Producer | None = None

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def read(
        self, topics: Sequence[Topic], since_s: float = 0.0, until_s: float = float("inf")
    ) -> Iterator[DeadLetter]:
        """Yield the dead letters of these topics that were written in that span of Unix time.

        Raises:
            KafkaUnavailable: the cluster does not answer.
            TopicsMissing: it lacks one of the topics.
        """
        for topic in topics:
            starts = self._starts(topic, since_s)
            for message in self._messages(starts):
                letter = self._letter(topic, message)
                if since_s <= _epoch(message) < until_s:
                    yield letter

    def find(self, topic: Topic, partition: int, offset: int) -> DeadLetter | None:
        """Return one dead letter; None if there is none, or no longer. Raises as `read`."""
        where = TopicPartition(self._settings.topic(topic.name), partition)
        message = self._message(where, offset)
        return None if message is None else self._letter(topic, message)

    def replay(self, letter: DeadLetter) -> str:
        """Put a dead letter back where it came from, and return that place.

        The message goes to its partition with the key, value and headers that it had. A webhook
        delivery is posted once more by the notifier, under its `webhook-id`.

        Raises:
            NotReplayable: it cannot be put back.
            KafkaUnavailable: the cluster did not take it.
        """
        if letter.topic == WEBHOOKS_DEAD_LETTER.name:
            return self._replay_delivery(letter)
        topic = self._source_of(letter)
        value, headers = letter.value, letter.headers
        if value is None or header(headers, "imagemill-omitted"):
            where = TopicPartition(self._settings.topic(topic.name), letter.source_partition)
            original = self._message(where, letter.source_offset)
            if original is None:
                raise NotReplayable(
                    f"it was too large to be copied, and is no longer at {letter.source}"
                )
            value, headers = original.value(), list(original.headers() or ())
        kept = [(name, text) for name, text in headers if not name.startswith(_ADDED)]
        kept.append(("imagemill-replayed-from", letter.id.encode()))
        self._produce(topic, letter.source_partition, letter.key, value, kept)
        return str(TopicPartition(topic.name, letter.source_partition))

    def check(self, letter: DeadLetter) -> str:
        """Return the place that `replay` would put it back to, as far as the record says.

        Raises:
            NotReplayable: it cannot be put back.
        """
        if letter.topic == WEBHOOKS_DEAD_LETTER.name:
            self._delivery_of(letter)
            return WEBHOOKS_COMMANDS.name
        return str(TopicPartition(self._source_of(letter).name, letter.source_partition))

    def _source_of(self, letter: DeadLetter) -> Topic:
        # Headers may be anybody's: only topics of this system are written to.
        topic = _BY_NAME.get(letter.source_topic)
        if topic is None or letter.source_partition < 0:
            raise NotReplayable("its headers do not say which of our topics it came from")
        if topic.retention_ms is None:
            raise NotReplayable(
                f"{topic.name} keeps the last message of each key, and an older one would hide it"
            )
        return topic

    def _delivery_of(self, letter: DeadLetter) -> WebhookDelivery:
        try:
            delivery = cloudevents.decode_webhook(letter.headers, letter.value)
        except cloudevents.DecodeError as error:
            raise NotReplayable(f"it is no delivery that this version reads: {error}") from error
        if not isinstance(delivery, WebhookDelivery):
            raise NotReplayable("it is no delivery")
        if not delivery.body:
            raise NotReplayable("its body was too large to be kept; the event is on jobs.results")
        return delivery

    def _replay_delivery(self, letter: DeadLetter) -> str:
        delivery = self._delivery_of(letter)
        command = WebhookReplay(
            command_id=f"cmd_{uuid.uuid4().hex}",
            delivery_id=delivery.delivery_id,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            at=now(),
        )
        value, headers = cloudevents.encode(command)
        self._produce(WEBHOOKS_COMMANDS, None, delivery.delivery_id.encode(), value, headers)
        return WEBHOOKS_COMMANDS.name

    def _produce(
        self,
        topic: Topic,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        if self._producer is None:
            self._producer = Producer(producer_config(self._settings) | {"log_level": 0})
        failures: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failures.append(error)

        place = {} if partition is None else {"partition": partition}
        name = self._settings.topic(topic.name)
        try:
            self._producer.produce(
                name, value, key, headers=headers, on_delivery=on_delivery, **place
            )
            self._producer.flush()
        except (BufferError, KafkaException) as error:
            raise KafkaUnavailable(f"{topic.name} cannot be written: {error}") from error
        if failures:
            raise KafkaUnavailable(f"{topic.name} cannot be written: {failures[0].str()}")

    def _starts(self, topic: Topic, since_s: float) -> list[AskedPartition]:
        """Return the first offset to read of each partition."""
        name = self._settings.topic(topic.name)
        with _answering(self._settings):
            known = self._consumer.list_topics(name, timeout=_TIMEOUT_S).topics[name]
            if known.error is not None:
                raise TopicsMissing(f"{name} is missing: run `imagemill topics create`")
            numbers = sorted(known.partitions)
            if since_s <= 0:
                return [AskedPartition(name, number, OFFSET_BEGINNING) for number in numbers]
            asked = [AskedPartition(name, number, int(since_s * 1000)) for number in numbers]
            return _retried(lambda: self._offsets_at(asked))

    def _offsets_at(self, asked: list[AskedPartition]) -> list[AskedPartition]:
        found = self._consumer.offsets_for_times(asked, timeout=_TIMEOUT_S)
        for where in found:
            if where.error is not None:
                raise KafkaException(where.error)
        return found

    def _messages(self, starts: Sequence[AskedPartition]) -> Iterator[Message]:
        """Yield the messages of partitions from these offsets to the ends that they have now."""
        left = {(where.topic, where.partition) for where in starts}
        with _answering(self._settings):
            self._consumer.assign(list(starts))
            while left:
                message = self._polled()
                if message.error() is None:
                    yield message
                else:
                    left.discard((message.topic(), message.partition()))
            self._consumer.unassign()

    def _message(self, where: TopicPartition, offset: int) -> Message | None:
        """Return the message at an offset; None if it is not there."""
        with _answering(self._settings):
            try:
                first, end = _retried(
                    lambda: self._consumer.get_watermark_offsets(
                        AskedPartition(*where), timeout=_TIMEOUT_S
                    )
                )
            except KafkaException as error:
                if error.args[0].code() in (
                    KafkaError._UNKNOWN_PARTITION,
                    KafkaError.UNKNOWN_TOPIC_OR_PART,
                ):
                    return None
                raise
            if not first <= offset < end:
                return None
            self._consumer.assign([AskedPartition(*where, offset)])
            message = self._polled()
            self._consumer.unassign()
        # After a gap, such as the marker of a transaction, the next message comes.
        return message if message.error() is None and message.offset() == offset else None

    def _polled(self) -> Message:
        """Return the next message, or the end of a partition as one with an error."""
        message = self._consumer.poll(_TIMEOUT_S)
        if message is None:
            raise KafkaUnavailable(f"no message came for {_TIMEOUT_S:.0f} s")
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        return message

    def _letter(self, topic: Topic, message: Message) -> DeadLetter:
        headers: Headers = list(message.headers() or ())
        source = header(headers, "imagemill-source-topic")
        ours = source.startswith(self._settings.topic_prefix)
        return DeadLetter(
            topic=topic.name,
            partition=int(message.partition() or 0),
            offset=int(message.offset() or 0),
            at=from_epoch(_epoch(message)),
            key=message.key(),
            value=message.value(),
            headers=headers,
            source_topic=source.removeprefix(self._settings.topic_prefix) if ours else "",
            source_partition=_number(headers, "imagemill-source-partition"),
            source_offset=_number(headers, "imagemill-source-offset"),
            reason=_reason(topic, headers, message.value()),
        )


def header(headers: Headers, name: str) -> str:
    """Return the last header of that name as text; empty if there is none."""
    return next((text.decode(errors="replace") for key, text in headers[::-1] if key == name), "")


def as_json(letter: DeadLetter) -> Mapping[str, object]:
    """Return the facts of a dead letter but for its value, under the names of the output."""
    key = None if letter.key is None else letter.key.decode(errors="replace")
    return {
        "id": letter.id,
        "at": letter.at,
        "key": key,
        "type": letter.type or None,
        "source": letter.source or None,
        "reason": letter.reason,
        "replayed_from": letter.replayed_from or None,
    }


def _reason(topic: Topic, headers: Headers, value: bytes | None) -> str:
    if topic is WEBHOOKS_DEAD_LETTER:
        with contextlib.suppress(cloudevents.DecodeError):
            delivery = cloudevents.decode_webhook(headers, value)
            if isinstance(delivery, WebhookDelivery) and delivery.reason:
                return f"{delivery.reason} ({delivery.url}, after {delivery.attempts} attempts)"
    return header(headers, "imagemill-error") or "the record does not say why"


def _number(headers: Headers, name: str) -> int:
    text = header(headers, name)
    return int(text) if text.isascii() and text.isdigit() else -1


def _epoch(message: Message) -> float:
    return message.timestamp()[1] / 1000


def _retried(ask: Callable[[], _Answer]) -> _Answer:
    """Ask the cluster, and again while its answer is an error that passes."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_S)


@contextlib.contextmanager
def _answering(settings: KafkaSettings) -> Iterator[None]:
    """Raise KafkaUnavailable for what the cluster does not answer."""
    try:
        yield
    except KafkaException as error:
        where = settings.kafka_bootstrap_servers
        raise KafkaUnavailable(
            f"the Kafka cluster at {where} did not answer: {error.args[0].str()}"
        ) from error
