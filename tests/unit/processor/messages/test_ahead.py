"""Messages admitted ahead of those that precede them: run once, acked in order, kept in commits."""

from __future__ import annotations

import pytest

from processor.messages.admission import Admission, AdmittedMessage
from tests.support.edge import JOBS, Client


@pytest.fixture
def client() -> Client:
    return Client()


def _ahead(admission: Admission, client: Client, offset: int) -> AdmittedMessage | None:
    return admission.admit_ahead(client.message(offset), client.generation)


def _restarted(client: Client, admission: Admission) -> Admission:
    """Commit, and start another admission from that commit."""
    offset = admission.due().get(JOBS, 0)
    metadata = admission.metadata(JOBS)
    client.generation += 1
    successor = client.admission()
    successor.start(JOBS, offset, metadata)
    return successor


def test_a_message_ahead_is_admitted_once_and_passed_over_in_order(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    ahead = _ahead(admission, client, 2)
    assert ahead is not None and ahead.ahead
    assert _ahead(admission, client, 2) is None
    first, second = (admission.admit(client.message(offset)) for offset in (0, 1))
    assert admission.admit(client.message(2)) is None
    assert admission.expected(JOBS) == 3
    for admitted, acked in ((first, [0]), (second, [0, 1]), (ahead, [0, 1, 2])):
        assert admitted is not None
        admission.done(admitted)
        assert client.acked == acked
    assert admission.counts == {"ahead": 1, "was_ahead": 1}


def test_what_is_done_ahead_is_passed_over_by_the_successor_too(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    for offset in (5, 7):
        ahead = _ahead(admission, client, offset)
        assert ahead is not None
        admission.done(ahead)
    assert _ahead(admission, client, 8) is not None, "in flight when the worker dies"
    successor = _restarted(client, admission)
    admitted = [offset for offset in range(9) if successor.admit(client.message(offset))]
    assert admitted == [0, 1, 2, 3, 4, 6, 8]


def test_what_was_done_behind_a_stuck_message_is_not_repeated_either(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    _ahead(admission, client, 9)
    admission.admit(client.message(0))
    second = admission.admit(client.message(1))
    assert second is not None
    admission.done(second)
    successor = _restarted(client, admission)
    assert [offset for offset in range(3) if successor.admit(client.message(offset))] == [0, 2]


def test_nothing_is_admitted_ahead_of_a_partition_that_is_not_ours(client: Client) -> None:
    admission = client.admission()
    assert _ahead(admission, client, 0) is None
    admission.start(JOBS, 4)
    assert _ahead(admission, client, 3) is None, "it was read in order"
    assert admission.admit_ahead(client.message(9), client.generation - 1) is None
    admission.close()
    assert (admission.expected(JOBS), _ahead(admission, client, 9)) == (None, None)
    admission.start(JOBS, 4)
    client.generation += 1
    assert (admission.expected(JOBS), _ahead(admission, client, 9)) == (None, None)


async def test_an_end_that_comes_after_a_revoke_is_not_acked(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    ahead = _ahead(admission, client, 1)
    assert ahead is not None
    admission.close()
    await admission.drain()
    admission.start(JOBS, 0)
    admission.done(ahead)
    assert admission.metadata(JOBS) == ""
    assert admission.admit(client.message(0)) and admission.admit(client.message(1))


def test_metadata_of_another_tool_is_ignored(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 3, "set by hand")
    assert admission.admit(client.message(3)) is not None


def test_nothing_more_goes_ahead_of_what_a_commit_can_hold(client: Client) -> None:
    admission = client.admission()
    admission.start(JOBS, 0)
    assert admission.admits_ahead(JOBS, 1_000_000)
    assert not admission.admits_ahead(JOBS, 1_000_001)
    offset = 0
    while admission.admits_ahead(JOBS, offset):
        for _ in range(500):
            offset += 1 + offset % 3 + offset % 7  # a pattern that does not compress to nothing
            ahead = _ahead(admission, client, offset * 5 + offset * offset % 11)
            if ahead is not None:
                admission.done(ahead)
        assert len(admission.metadata(JOBS)) <= 4096
