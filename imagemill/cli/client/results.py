"""`imagemill results tail`: ended jobs from the topic `jobs.results`, as JSON lines."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imagemill.cli.client.connection import WRONG_USAGE, UsageError, complain
from schemas.jobs import JobStatus

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from schemas.events import JobFinished

_POLL_S = 0.5
_TIMEOUT_S = 10.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the time span and the filters."""
    parser.add_argument("action", choices=("tail",), help="print results as they come")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="begin there: 2026-01-31T12:00:00Z, or 90s, 15m, 2h, 3d ago (default now)",
    )
    parser.add_argument("--status", choices=[each.value for each in JobStatus if each.ended])
    parser.add_argument("--op", metavar="NAME", help="operation of the jobs")
    parser.add_argument(
        "--no-follow", action="store_true", help="end where the topic ends, instead of waiting"
    )


def run(args: argparse.Namespace) -> int:
    """Print results until Ctrl+C, or with --no-follow until the end of the topic."""
    from confluent_kafka import KafkaException

    from imagemill.kafka.errors import KafkaUnavailable
    from imagemill.local.errors import LocalError

    try:
        since_ms = parse_since(args.since, time.time())
    except UsageError as error:
        return complain(str(error), WRONG_USAGE)
    try:
        for finished in _finished(since_ms, follow=not args.no_follow):
            if args.status and finished.status != args.status:
                continue
            if args.op and finished.operation != args.op:
                continue
            print(finished.model_dump_json(), flush=True)
    except BrokenPipeError:
        # `| head` has what it wanted.
        sys.stderr.close()
    except (KafkaUnavailable, KafkaException) as error:
        raise LocalError(f"jobs.results cannot be read: {error}") from error
    return 0


def parse_since(text: str | None, now_s: float) -> int:
    """Return the Unix milliseconds of a time, or of a span before now.

    Raises:
        UsageError: it is neither.
    """
    from schemas.times import to_epoch

    if text is None:
        return int(now_s * 1000)
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS_S and number.isascii() and number.isdecimal():
        return int((now_s - int(number[:12]) * _UNITS_S[unit]) * 1000)
    try:
        return int(to_epoch(text) * 1000)
    except ValueError as error:
        raise UsageError(
            f"--since {text}: give a time such as 2026-01-31T12:00:00Z, or a span such as 15m."
        ) from error


_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _finished(since_ms: int, *, follow: bool) -> Iterator[JobFinished]:
    from confluent_kafka import Consumer, KafkaException

    from imagemill.kafka.config import consumer_config
    from imagemill.settings import KafkaSettings
    from schemas import cloudevents
    from schemas.events import JobFinished
    from schemas.topics import JOBS_RESULTS

    settings = KafkaSettings()
    # The group is never joined: partitions are assigned by hand, and nothing is committed.
    consumer = Consumer(consumer_config(settings, "results-tail") | {"enable.auto.commit": False})
    try:
        left = _seek(consumer, settings.topic(JOBS_RESULTS.name), since_ms)
        while follow or left:
            message = consumer.poll(_POLL_S)
            if message is None:
                continue
            if (error := message.error()) is not None:
                if error.fatal():
                    raise KafkaException(error)
                continue
            if message.offset() + 1 >= left.get(message.partition(), 0):
                left.pop(message.partition(), None)
            try:
                event = cloudevents.decode(message.headers(), message.value())
            except cloudevents.DecodeError as wrong:
                complain(f"{message.topic()}@{message.offset()} is left out: {wrong}", 0)
                continue
            if isinstance(event, JobFinished):
                yield event
    finally:
        consumer.close()


def _seek(consumer: Consumer, topic: str, since_ms: int) -> dict[int, int]:
    """Assign all partitions from that time on; return the end offset of each that is not empty.

    Raises:
        KafkaUnavailable: the broker does not answer, or lacks the topic.
    """
    from confluent_kafka import KafkaException, TopicPartition

    from imagemill.kafka.errors import KafkaUnavailable

    try:
        known = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if known.error is not None:
            raise KafkaException(known.error)
        wanted = [TopicPartition(topic, number, since_ms) for number in known.partitions]
        begins = consumer.offsets_for_times(wanted, timeout=_TIMEOUT_S)
        ends = {
            each.partition: consumer.get_watermark_offsets(each, timeout=_TIMEOUT_S)[1]
            for each in wanted
        }
    except KafkaException as error:
        raise KafkaUnavailable(str(error)) from error
    for each in begins:
        # Without a later message the offset is -1, librdkafka's name for the end.
        each.offset = each.offset if each.offset >= 0 else ends[each.partition]
    consumer.assign(begins)
    return {
        each.partition: ends[each.partition]
        for each in begins
        if each.offset < ends[each.partition]
    }
