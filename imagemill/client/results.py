"""Ended jobs straight from the topic `jobs.results`, for services beside the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from schemas import cloudevents
from schemas.events import JobFinished
from schemas.topics import JOBS_RESULTS

if TYPE_CHECKING:
    from confluent_kafka import Consumer

# Seconds between two looks at `stop`.
_POLL_S = 1.0


def consume_results(
    bootstrap: str,
    group: str,
    *,
    prefix: str = "imagemill.",
    config: Mapping[str, Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[JobFinished]:
    """Yield the ended jobs of the topic `jobs.results`, each at least once, until `stop`.

    The offset of a job is committed when the next one is asked for: a job whose handling raised,
    or whose process died, is yielded again to the group. Handle repeats by `job_id`. Events of
    kinds that this version does not know are passed over.

    Needs the package `confluent-kafka`.

    Args:
        bootstrap: `host:port` of the brokers, comma separated.
        group: name of the consumer group; its members share the jobs.
        prefix: IMAGEMILL_TOPIC_PREFIX of the deployment.
        config: further options of librdkafka, such as `security.protocol`.
        stop: asked about once a second; the iterator ends when it returns True.

    Raises:
        confluent_kafka.KafkaException: the consumer cannot go on, for example is not authorized.
    """
    consumer = _subscribed(bootstrap, group, prefix, config or {})
    try:
        while not stop():
            message = consumer.poll(_POLL_S)
            if message is None or _is_news(message):
                continue
            finished = _decoded(message)
            if finished is not None:
                yield finished
            consumer.store_offsets(message=message)
    finally:
        consumer.close()


def _subscribed(bootstrap: str, group: str, prefix: str, config: Mapping[str, Any]) -> Consumer:
    # Imported here: a client of the HTTP API needs no Kafka library.
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            **config,
            # Committed by consume_results, after the job was handled.
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([prefix + JOBS_RESULTS.name])
    return consumer


def _is_news(message: Any) -> bool:
    """Return True for librdkafka's own news, such as a broker that went away.

    Raises:
        confluent_kafka.KafkaException: the consumer cannot go on.
    """
    from confluent_kafka import KafkaException

    error = message.error()
    if error is None:
        return False
    if error.retriable() or (not error.fatal() and error.code() < 0):
        return True
    raise KafkaException(error)


def _decoded(message: Any) -> JobFinished | None:
    try:
        event = cloudevents.decode(message.headers(), message.value())
    except cloudevents.UnknownType:
        return None
    return event if isinstance(event, JobFinished) else None
