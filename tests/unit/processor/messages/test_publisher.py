"""Delivered, then acked; failed, then crashed: nothing is acked whose effect is not in the log."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from processor.messages.admission import Admission, AdmittedMessage
from processor.messages.dead_letter import dead_letter
from processor.messages.publisher import Publisher
from schemas.cloudevents import Encoded
from schemas.topics import MAX_MESSAGE_BYTES
from tests.support.edge import JOBS, Client, Crashes, Producer, settled

MESSAGE = Encoded(b"{}", [("ce_type", b"x")])


class Bench:
    """An publisher between a client and a producer that delivers when told to."""

    def __init__(self) -> None:
        self.client, self.producer = Client(), Producer(deliver=False)
        self.admission: Admission = self.client.admission()
        self.admission.start(JOBS, 0)
        self.crashes = Crashes()
        self.publisher = Publisher(lambda: self.producer, self.admission, self.crashes)

    def entry(self, offset: int) -> AdmittedMessage:
        """An admitted event whose work has begun."""
        entry = self.admission.admit(self.client.message(offset))
        assert entry is not None
        self.admission.begin()
        return entry


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_an_entry_is_acked_once_all_its_messages_are_delivered(bench: Bench) -> None:
    entry = bench.entry(0)
    sends = [await bench.publisher.send("out", b"k", MESSAGE, 0) for _ in range(2)]
    bench.publisher.ack_when_delivered([entry], sends)
    bench.producer.deliver(bench.producer.sent[1])
    await settled()
    assert (bench.client.acked, bench.admission.running) == ([], 1)
    bench.producer.deliver(bench.producer.sent[0])
    await settled()
    assert (bench.client.acked, bench.admission.running) == ([0], 0)


async def test_deliveries_in_any_order_are_acked_in_the_order_of_the_log(bench: Bench) -> None:
    for offset in range(3):
        entry = bench.entry(offset)
        sent = await bench.publisher.send("out", b"k", MESSAGE, 0)
        bench.publisher.ack_when_delivered([entry], [sent])
    for number, acked in ((2, []), (0, [0]), (1, [0, 1, 2])):
        bench.producer.deliver(bench.producer.sent[number])
        await settled()
        assert bench.client.acked == acked


async def test_entries_may_share_their_messages(bench: Bench) -> None:
    entries = [bench.entry(offset) for offset in range(3)]
    sent = await bench.publisher.send("out", b"k", MESSAGE, 0)
    bench.publisher.ack_when_delivered(entries, [sent])
    await settled()
    assert bench.client.acked == []
    bench.producer.deliver(bench.producer.sent[0])
    await settled()
    assert (bench.client.acked, bench.admission.running) == ([0, 1, 2], 0)


async def test_an_entry_without_messages_is_acked_at_once(bench: Bench) -> None:
    bench.publisher.ack_when_delivered([bench.entry(0)], [])
    assert (bench.client.acked, bench.admission.running) == ([0], 0)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_message_that_is_not_delivered_restarts_the_worker(bench: Bench, how: str) -> None:
    entry = bench.entry(0)
    sends = [await bench.publisher.send("out", b"k", MESSAGE, 0) for _ in range(2)]
    bench.publisher.ack_when_delivered([entry], sends)
    if how == "failed":
        sends[0].set_exception(KafkaTimeoutError())
    else:
        sends[0].cancel()
    await settled()
    assert len(bench.crashes.reasons) == 1
    assert bench.admission.running == 0, "a revoke need not wait for it"
    bench.producer.deliver(bench.producer.sent[1])
    await settled()
    assert bench.client.acked == []


async def test_what_is_delivered_after_a_revoke_acks_nothing(bench: Bench) -> None:
    entry = bench.entry(0)
    sent = await bench.publisher.send("out", b"k", MESSAGE, 0)
    bench.publisher.ack_when_delivered([entry], [sent])
    bench.admission._grace_s = 0.01
    await bench.admission.revoke()
    bench.producer.deliver(bench.producer.sent[0])
    await settled()
    assert bench.client.acked == []


async def test_the_changelog_is_known_up_to_what_was_delivered(bench: Bench) -> None:
    bench.publisher.changelog = "state"
    sends = [await bench.publisher.send(topic, b"k", MESSAGE, 3) for topic in ("state", "out")]
    bench.publisher.ack_when_delivered([bench.entry(0)], sends)
    bench.producer.deliver(bench.producer.sent[0], offset=41)
    bench.producer.deliver(bench.producer.sent[1], offset=99)
    await settled()
    assert bench.publisher.changelog_offsets == {3: 41}


async def test_a_dead_letter_is_the_message_with_its_reason(bench: Bench) -> None:
    entry = bench.admission.admit(
        bench.client.message(0, key=b"k", value=b"\xff", headers=[("a", b"1")])
    )
    assert entry is not None
    await dead_letter(bench.publisher, "dead", entry, "no event: \u00e4")
    (sent,) = bench.producer.sent
    assert (sent.topic, sent.key, sent.value) == ("dead", b"k", b"\xff")
    assert sent.headers == [
        ("a", b"1"),
        ("imagemill-source-topic", b"jobs.normal"),
        ("imagemill-source-partition", b"0"),
        ("imagemill-source-offset", b"0"),
        ("imagemill-error", "no event: \u00e4".encode()),
    ]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"value": bytes(MAX_MESSAGE_BYTES)}, b"job"),
        ({"headers": [("a", bytes(MAX_MESSAGE_BYTES))]}, b"job"),
        ({"key": bytes(MAX_MESSAGE_BYTES)}, None),
    ],
    ids=["value", "headers", "key"],
)
async def test_a_dead_letter_that_would_be_too_large_says_where_its_message_is(
    bench: Bench, fields: dict[str, Any], key: bytes | None
) -> None:
    entry = bench.admission.admit(bench.client.message(0, **fields))
    assert entry is not None
    await dead_letter(bench.publisher, "dead", entry, "x" * MAX_MESSAGE_BYTES)
    (sent,) = bench.producer.sent
    assert (sent.key, sent.value) == (key, b"")
    headers = dict(sent.headers or ())
    assert headers["imagemill-omitted"].startswith(b"41943")
    assert headers["imagemill-source-offset"] == b"0"
    assert len(headers["imagemill-error"]) == 1000


async def test_a_message_of_nothing_at_all_is_a_dead_letter_too(bench: Bench) -> None:
    entry = bench.admission.admit(bench.client.message(0, key=None, value=None, headers=[]))
    assert entry is not None
    await dead_letter(bench.publisher, "dead", entry, "nothing")
    assert len(bench.producer.sent) == 1
