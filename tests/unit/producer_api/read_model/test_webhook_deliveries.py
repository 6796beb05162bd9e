"""Webhook deliveries in the read model: what their attempts and dead letters make of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import orjson
import pytest

from producer_api.read_model.changes import RetentionCutoff
from producer_api.read_model.webhook_queries import DeliveryFilter, _condition
from schemas.webhooks import WebhookTrigger
from tests.support.messages import (
    ATTEMPTS,
    FakeMessage,
    attempt_message,
    attempted,
    given_up,
    given_up_message,
)
from tests.support.readmodel import CUTOFF, FedFile


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FedFile]:
    made = FedFile(tmp_path / "projection.db")
    made.writer.complete()
    yield made
    made.close()


def at(minute: int) -> str:
    return f"2026-03-01T11:{minute:02}:00.000Z"


def test_an_accepted_delivery_is_delivered_and_its_body_s_place_is_known(file: FedFile) -> None:
    file.feed(attempt_message(attempted("msg_1", at(0), body='{"a":1}'), offset=7))

    row = file.webhooks.delivery("msg_1")
    assert row is not None
    assert (row.status, row.created_at, row.last_at) == ("delivered", at(0), at(0))
    assert (row.topic, row.partition, row.offset) == ("webhooks.attempts", 0, 7)
    assert (row.endpoint_id, row.job_id, row.event) == ("ep_00000001", "job-00001", "job.finished")
    (attempt,) = file.webhooks.attempts("msg_1")
    assert (attempt.status, attempt.body) == (204, None)
    assert file.webhooks.delivery("msg_2") is None


def test_a_failed_delivery_is_pending_until_it_is_given_up(file: FedFile) -> None:
    file.feed(attempt_message(attempted("msg_1", at(0), next_at=at(5))))
    row = file.webhooks.delivery("msg_1")
    assert row is not None and (row.status, row.next_at, row.topic) == ("pending", at(5), None)

    file.feed(attempt_message(attempted("msg_1", at(5), attempt=2, failure="timeout")))
    row = file.webhooks.delivery("msg_1")
    assert row is not None and (row.status, row.next_at) == ("pending", None)
    file.feed(given_up_message(given_up("msg_1"), at(6), offset=3))
    row = file.webhooks.delivery("msg_1")
    assert row is not None
    assert (row.status, row.next_at, row.last_at) == ("failed", None, at(6))
    assert row.reason == "No attempt of 3 succeeded."
    assert (row.topic, row.offset) == ("webhooks.dead-letter", 3)
    assert [each.attempt for each in file.webhooks.attempts("msg_1")] == [1, 2]


def test_a_delivery_given_up_without_an_attempt_is_seen_too(file: FedFile) -> None:
    file.feed(given_up_message(given_up("msg_1", body=""), at(6)))
    row = file.webhooks.delivery("msg_1")
    assert row is not None and (row.status, row.topic) == ("failed", None)
    assert file.webhooks.attempts("msg_1") == []


@pytest.mark.parametrize("batches", [True, False], ids=["one batch", "a batch each"])
def test_the_order_of_the_records_does_not_matter(tmp_path: Path, batches: bool) -> None:
    replay = attempted("msg_1", at(9), attempt=3, trigger=WebhookTrigger.REPLAY)
    records = [
        attempt_message(attempted("msg_1", at(0), next_at=at(5)), 1),
        attempt_message(attempted("msg_1", at(5), attempt=2, failure="timeout"), 2),
        given_up_message(given_up("msg_1"), at(6), 3),
        attempt_message(replay, 4),
    ]
    seen = set()
    for number, order in enumerate(permutations(records)):
        file = FedFile(tmp_path / f"{number}.db")
        for batch in [order] if batches else [[each] for each in order]:
            assert file.feed(*batch) == []
        row = file.webhooks.delivery("msg_1")
        assert row is not None
        seen.add((row.status, row.created_at, row.last_at, row.reason))
        assert len(file.webhooks.attempts("msg_1")) == 3
        file.close()
    assert seen == {("delivered", at(0), at(9), "No attempt of 3 succeeded.")}


def test_a_failed_replay_leaves_a_delivery_as_it_was(file: FedFile) -> None:
    failed = {"trigger": WebhookTrigger.REPLAY, "failure": "unreachable"}
    file.feed(
        attempt_message(attempted("msg_1", at(0))),
        attempt_message(attempted("msg_1", at(1), attempt=2, **failed)),
        given_up_message(given_up("msg_2"), at(0), offset=8),
        attempt_message(attempted("msg_2", at(1), attempt=4, **failed)),
    )
    rows = [file.webhooks.delivery(name) for name in ("msg_1", "msg_2")]
    assert [row and (row.status, row.last_at) for row in rows] == [
        ("delivered", at(1)),
        ("failed", at(1)),
    ]
    assert [row and row.failed_at for row in rows] == [at(1), at(0)]
    assert rows[1] is not None and rows[1].offset == 8


def test_a_test_event_that_fails_has_failed(file: FedFile) -> None:
    file.feed(
        attempt_message(attempted("msg_1", at(0), trigger=WebhookTrigger.TEST, failure="timeout"))
    )
    row = file.webhooks.delivery("msg_1")
    assert row is not None and (row.status, row.failed_at, row.topic) == ("failed", at(0), None)


def test_a_repeated_record_changes_nothing(file: FedFile) -> None:
    record = attempt_message(attempted("msg_1", at(0), next_at=at(5)))
    file.feed(record, record)
    before = file.webhooks.delivery("msg_1")
    file.feed(record)
    assert file.webhooks.delivery("msg_1") == before
    assert len(file.webhooks.attempts("msg_1")) == 1


@pytest.fixture
def many(file: FedFile) -> FedFile:
    """Ten deliveries, of two endpoints and of two owners by turns; every third one failed."""
    messages = []
    for number in range(10):
        fields = {
            "endpoint_id": f"ep_0000000{number % 2}",
            "job_id": f"job-0000{number // 5}",
            "owner": "mine" if number < 6 else "other",
        }
        name = f"msg_{number}"
        messages += [
            attempt_message(attempted(name, at(number), **fields))
            if number % 3
            else given_up_message(given_up(name, **fields), at(number))
        ]
    file.feed(*messages)
    return file


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"endpoint_id": "ep_00000001"}, [9, 7, 5, 3, 1]),
        ({"job_id": "job-00001"}, [9, 8, 7, 6, 5]),
        ({"statuses": ["failed"]}, [9, 6, 3, 0]),
        ({"statuses": ["failed", "delivered"], "endpoint_id": "ep_00000000"}, [8, 6, 4, 2, 0]),
        ({"owner": "mine"}, [5, 4, 3, 2, 1, 0]),
        ({"owner": "mine", "statuses": ["failed"]}, [3, 0]),
        ({"owner": "nobody"}, []),
    ],
    ids=str,
)
def test_deliveries_are_listed_newest_first_page_by_page(many: FedFile, wanted, numbers) -> None:
    found, cursor = [], None
    while True:
        page, cursor = many.webhooks.deliveries(DeliveryFilter(**wanted), 3, cursor)
        found += [row.delivery_id for row in page]
        assert len(page) <= 3
        if cursor is None:
            break
    assert found == [f"msg_{number}" for number in numbers]


def test_failed_deliveries_since_a_time_are_found_first_failure_first(many: FedFile) -> None:
    assert [row.delivery_id for row in many.webhooks.failed("ep_00000001", at(3), 10)] == [
        "msg_3",
        "msg_9",
    ]
    assert [row.delivery_id for row in many.webhooks.failed("ep_00000001", "", 1)] == ["msg_3"]


def test_old_deliveries_are_forgotten_and_not_read_again(many: FedFile) -> None:
    many.writer.forget_deliveries(at(7))
    left, _ = many.webhooks.deliveries(DeliveryFilter(), 10)
    assert [row.delivery_id for row in left] == ["msg_9", "msg_8", "msg_7"]
    assert many.reader.one("SELECT count(*) FROM attempts") == (2,)

    cutoff = RetentionCutoff(CUTOFF.now, at(7))
    many.feed(
        attempt_message(attempted("msg_1", at(1))),
        given_up_message(given_up("msg_2"), at(2)),
        cutoff=cutoff,
    )
    assert many.webhooks.delivery("msg_1") is many.webhooks.delivery("msg_2") is None


@pytest.mark.parametrize(
    "broken",
    [
        b"[]",
        b"no JSON",
        {"at": 5},
        {"attempt": 0},
        {"attempt": 2**70},
        {"attempt": True},
        {"next_at": {}},
        {"delivery_id": None},
        {"delivery_id": ""},
        {"owner": ["x"]},
        {"url": "x" * 9000},
    ],
    ids=str,
)
def test_an_attempt_that_cannot_be_used_is_skipped(file: FedFile, broken) -> None:
    message = attempt_message(attempted("msg_1", at(0)))
    value = message.value_
    assert value is not None
    if isinstance(broken, dict):
        broken = (
            orjson.dumps(orjson.loads(value) | broken)
            if 2**70 not in broken.values()
            else (value.replace(b'"attempt":1', b'"attempt":%d' % 2**70))
        )
    bad = FakeMessage(ATTEMPTS, b"msg_1", broken, message.headers_)
    assert len(file.feed(bad, attempt_message(attempted("msg_2", at(1))))) == 1
    assert file.webhooks.delivery("msg_2") is not None


def test_a_record_of_another_kind_is_skipped(file: FedFile) -> None:
    message = attempt_message(attempted("msg_1", at(0)))
    (line,) = file.feed(FakeMessage(ATTEMPTS, b"msg_1", message.value_, []))
    assert "None does not belong here" in line or "no ce_type" in line


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "by_time"),
        ({"owner": "mine"}, "by_owner"),
        ({"statuses": ["failed"]}, "by_status"),
        ({"endpoint_id": "ep_00000001", "owner": "mine"}, "by_endpoint"),
        ({"job_id": "job-00001", "owner": "mine"}, "by_job"),
    ],
    ids=str,
)
def test_each_list_is_read_from_an_index_of_its_own(many: FedFile, wanted, index) -> None:
    """Deliveries are kept for days: a list that reads all of them would take seconds."""
    where, values = _condition(DeliveryFilter(**wanted), None)
    order = "ORDER BY created_at DESC, delivery_id DESC LIMIT 20"
    plan = many.reader.all(f"EXPLAIN QUERY PLAN SELECT * FROM deliveries {where} {order}", values)
    assert f"deliveries_{index}" in plan[0][3]
