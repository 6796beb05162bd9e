"""Requests of the control topic reach the tracker in the partition of their job."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from processor.messages.control import ControlTopic
from schemas.events import AnyEvent, JobClaimed, JobExpired
from tests.support.edge import TOPICS, Edge, settled
from tests.support.facts import at, cancel, job

CONTROL = TP("jobs.control", 3)


class Bench(Edge):
    """The control topic between a client and a producer."""

    def __init__(self) -> None:
        super().__init__()
        self.admission.start(CONTROL, 0)
        self.control = ControlTopic(self.publisher)
        self._offset = 0

    async def forward(self, event: AnyEvent, **fields: Any) -> None:
        """Give one message of the control topic."""
        message = self.client.carrying(event, self._offset, CONTROL, **fields)
        admitted = self.admission.admit(message)
        self._offset += 1
        assert admitted is not None
        await self.control.forward(admitted)
        await settled()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_requests_become_facts_in_the_partition_of_their_job(bench: Bench) -> None:
    request, expired = cancel(job(2)), JobExpired(job_id="job", at=at(3600))
    await bench.forward(request)
    await bench.forward(expired)
    sent = bench.producer.to(TOPICS.events)
    assert [(each.key, each.partition) for each in sent] == [(b"job", 3)] * 2
    assert [each.event for each in sent] == [request, expired]
    assert bench.client.acked == [0, 1]


async def test_a_request_under_another_key_is_sent_where_its_job_is(bench: Bench) -> None:
    await bench.forward(cancel(job(1)), key=b"other")
    (sent,) = bench.producer.to(TOPICS.events)
    assert (sent.key, sent.partition) == (b"job", None), "the producer finds the partition"


async def test_claims_of_ids_concern_the_apis_only(bench: Bench) -> None:
    await bench.forward(JobClaimed(job_id="job", claim_id="1", fingerprint="f", at=at(0)))
    assert (bench.producer.sent, bench.client.acked) == ([], [0])


async def test_what_is_no_request_goes_to_the_dead_letters(bench: Bench) -> None:
    await bench.forward(job(1))
    await bench.forward(cancel(job(1)), value=b"?")
    assert [sent.topic for sent in bench.producer.sent] == [TOPICS.dead_letter] * 2
    assert bench.client.acked == [0, 1]


async def test_a_request_that_cannot_be_sent_is_not_acked(bench: Bench) -> None:
    bench.producer.refuse = KafkaTimeoutError()
    with pytest.raises(KafkaTimeoutError):
        await bench.forward(cancel(job(1)))
    assert (len(bench.crashes.reasons), bench.client.acked) == (1, [])
