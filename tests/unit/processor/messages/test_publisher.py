"""Delivered, then acked; failed, then crashed: no ack before all effects are in the log."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from processor.messages.admission import AdmittedMessage
from processor.messages.publisher import Delivery
from schemas.cloudevents import Encoded
from schemas.topics import MAX_MESSAGE_BYTES
from tests.support.edge import JOBS, Edge, Producer, settled

MESSAGE = Encoded(b"{}", [("ce_type", b"x")])


class Bench(Edge):
    """A publisher between a client and a producer that the test drives."""

    def __init__(self) -> None:
        super().__init__(Producer(deliver=False))
        self.admission.start(JOBS, 0)

    def admit(self, offset: int) -> AdmittedMessage:
        """An admitted message whose work has begun."""
        admitted = self.admission.admit(self.client.message(offset))
        assert admitted is not None
        self.admission.begin()
        return admitted

    async def send(self) -> Delivery:
        """Send one message that follows from another."""
        return await self.publisher.state(b"k", MESSAGE, 0)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_an_entry_is_acked_once_all_its_messages_are_delivered(bench: Bench) -> None:
    admitted = bench.admit(0)
    sends = [await bench.send() for _ in range(2)]
    bench.publisher.settle([admitted], sends)
    bench.producer.deliver(bench.producer.sent[1])
    await settled()
    assert (bench.client.acked, bench.admission.running) == ([], 1)
    bench.producer.deliver(bench.producer.sent[0])
    await settled()
    assert (bench.client.acked, bench.admission.running) == ([0], 0)


async def test_deliveries_in_any_order_are_acked_in_the_order_of_the_log(bench: Bench) -> None:
    for offset in range(3):
        admitted = bench.admit(offset)
        sent = await bench.send()
        bench.publisher.settle([admitted], [sent])
    for number, acked in ((2, []), (0, [0]), (1, [0, 1, 2])):
        bench.producer.deliver(bench.producer.sent[number])
        await settled()
        assert bench.client.acked == acked


async def test_entries_may_share_their_messages(bench: Bench) -> None:
    messages = [bench.admit(offset) for offset in range(3)]
    sent = await bench.send()
    bench.publisher.settle(messages, [sent])
    await settled()
    assert bench.client.acked == []
    bench.producer.deliver(bench.producer.sent[0])
    await settled()
    assert (bench.client.acked, bench.admission.running) == ([0, 1, 2], 0)


async def test_an_entry_without_messages_is_acked_at_once(bench: Bench) -> None:
    bench.publisher.settle([bench.admit(0)], [])
    assert (bench.client.acked, bench.admission.running) == ([0], 0)


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_message_that_is_not_delivered_restarts_the_worker(bench: Bench, how: str) -> None:
    admitted = bench.admit(0)
    sends = [await bench.send() for _ in range(2)]
    bench.publisher.settle([admitted], sends)
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
    admitted = bench.admit(0)
    sent = await bench.send()
    bench.publisher.settle([admitted], [sent])
    bench.admission._grace_s = 0.01
    bench.admission.close()
    await bench.admission.drain()
    bench.producer.deliver(bench.producer.sent[0])
    await settled()
    assert bench.client.acked == []


async def test_the_changelog_is_known_up_to_what_was_delivered(bench: Bench) -> None:
    sends = [
        await bench.publisher.state(b"k", MESSAGE, 3),
        await bench.publisher.encoded_event("k", MESSAGE, 3),
    ]
    bench.publisher.settle([bench.admit(0)], sends)
    bench.producer.deliver(bench.producer.sent[0], offset=41)
    bench.producer.deliver(bench.producer.sent[1], offset=99)
    await settled()
    assert bench.publisher.take_changelog_offsets() == {3: 41}
    assert bench.publisher.take_changelog_offsets() == {}, "each is taken once"


async def test_a_dead_letter_is_the_message_with_its_reason(bench: Bench) -> None:
    admitted = bench.admission.admit(
        bench.client.message(0, key=b"k", value=b"\xff", headers=[("a", b"1")])
    )
    assert admitted is not None
    await bench.publisher.dead_letter(admitted, "no event: \u00e4")
    (sent,) = bench.producer.sent
    assert (sent.topic, sent.key, sent.value) == ("jobs.dead-letter", b"k", b"\xff")
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
    admitted = bench.admission.admit(bench.client.message(0, **fields))
    assert admitted is not None
    await bench.publisher.dead_letter(admitted, "x" * MAX_MESSAGE_BYTES)
    (sent,) = bench.producer.sent
    assert (sent.key, sent.value) == (key, b"")
    headers = dict(sent.headers or ())
    assert headers["imagemill-omitted"].startswith(b"41943")
    assert headers["imagemill-source-offset"] == b"0"
    assert len(headers["imagemill-error"]) == 1000


async def test_a_message_of_nothing_at_all_is_a_dead_letter_too(bench: Bench) -> None:
    admitted = bench.admission.admit(bench.client.message(0, key=None, value=None, headers=[]))
    assert admitted is not None
    await bench.publisher.dead_letter(admitted, "nothing")
    assert len(bench.producer.sent) == 1
