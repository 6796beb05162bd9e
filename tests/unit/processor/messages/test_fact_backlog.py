"""The backlog of facts: items wait while the tracker has facts to read, but not for others'."""

from __future__ import annotations

import pytest
from faust.types import TP

from processor.messages.fact_backlog import FactBacklog
from tests.support.edge import Client

EVENTS = TP("jobs.events", 0)


@pytest.fixture
def client() -> Client:
    return Client()


def _backlog(client: Client, facts: int) -> FactBacklog:
    admission = client.admission()
    admission.start(EVENTS, 0)
    backlog = FactBacklog(admission, EVENTS.topic)
    for offset in range(facts):
        backlog.delivered(0, offset)
    return backlog


def test_facts_in_memory_go_before_the_next_items(client: Client) -> None:
    backlog = _backlog(client, 100)
    client.partition(EVENTS).received_to = 50
    assert backlog.is_long
    for offset in range(50):
        backlog._admission.admit(client.message(offset, EVENTS))
    assert not backlog.is_long, "the others are on their way: the loop has time for items"


def test_a_few_facts_delay_no_item(client: Client) -> None:
    backlog = _backlog(client, 16)
    client.partition(EVENTS).received_to = 16
    assert not backlog.is_long


def test_far_too_many_facts_on_their_way_stop_the_items_too(client: Client) -> None:
    assert not _backlog(client, 1000).is_long
    assert _backlog(client, 1001).is_long


def test_facts_that_another_worker_tracks_do_not_count(client: Client) -> None:
    backlog = _backlog(client, 5000)
    backlog.delivered(1, 5000)
    backlog._admission.close()
    assert not backlog.is_long
