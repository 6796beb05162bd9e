"""The codec writes CloudEvents that others can read, and reads only what is one of ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import cloudevents
from schemas.errors import ErrorCode, JobError
from schemas.events import (
    EVENTS,
    CancelRequested,
    ItemFinished,
    ItemQueued,
    JobFinished,
    JobSubmitted,
)
from schemas.jobs import Item, ItemInput, JobState, JobStatus
from schemas.times import to_epoch
from schemas.topics import MAX_MESSAGE_BYTES
from tests.support.facts import Reader, cancel, histories, interleaved, item_fact, job

LAW = settings(max_examples=40)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _read_by_others(encoded: cloudevents.Encoded) -> Any:
    """The message as the CloudEvents SDK reads it."""
    message = KafkaMessage(headers=dict(encoded.headers), key=b"job", value=encoded.value)
    return from_binary_event(message)


def _finished() -> JobFinished:
    reader = Reader().read([item_fact(ItemFinished, job(1), 0)])
    return reader.finished[0]


@LAW
@given(st.data())
def test_every_fact_survives_the_way(data: st.DataObject) -> None:
    submitted, items = data.draw(histories())
    for fact in [*data.draw(interleaved(items)), cancel(submitted), submitted]:
        encoded = cloudevents.encode(fact)
        assert cloudevents.decode(encoded.headers, encoded.value) == fact


def test_a_queued_job_and_item_say_their_owner_and_weight_in_headers() -> None:
    submitted = JobSubmitted(job_id="j", total=1, owner="acm\u00e9", weight=7)
    item = ItemQueued(job_id="j", index=0, job=submitted.header(), input=ItemInput())
    for event in (submitted, item):
        encoded = cloudevents.encode(event)
        assert cloudevents.share_of(encoded.headers) == ("acm\u00e9", 7)
        assert cloudevents.owner_of(encoded.headers) == "acm\u00e9"
        read = _read_by_others(encoded)
        assert (read.get_extension("owner"), read.get_extension("weight")) == ("acm\u00e9", "7")


def test_a_job_without_an_owner_has_the_headers_that_it_always_had() -> None:
    encoded = cloudevents.encode(JobSubmitted(job_id="j", total=1))
    assert not {"ce_owner", "ce_weight"} & dict(encoded.headers).keys()
    assert cloudevents.share_of(encoded.headers) == cloudevents.share_of(None) == (None, 1)


@given(
    st.lists(st.tuples(st.sampled_from(["ce_owner", "ce_id"]), st.sampled_from([b"a", b"", None])))
)
def test_both_ways_to_read_the_owner_agree(headers: list[tuple[str, Any]]) -> None:
    assert cloudevents.owner_of(headers) == cloudevents.share_of(headers).owner


@pytest.mark.parametrize(
    ("weight", "read"),
    [(b"3", 3), (b"0", 1), (b"999", 100), (b"1" * 5000, 1), (b"-3", 1), (b"x", 1), (None, 1)],
)
def test_a_weight_of_another_writer_is_brought_into_its_range(weight: Any, read: int) -> None:
    headers = [("ce_owner", b"\xff"), ("ce_weight", weight)]
    assert cloudevents.share_of(headers) == ("\ufffd", read)


def test_params_and_metadata_come_back_as_they_were_sent() -> None:
    values = {"none": None, "deep": [{"none": None, "text": "\u00e4\u65e5"}], "float": 1e-300}
    submitted = JobSubmitted(job_id="j", total=1, params=values, metadata=values)
    encoded = cloudevents.encode(submitted)
    assert cloudevents.decode(encoded.headers, encoded.value) == submitted


@pytest.mark.parametrize(
    "event", [job(2), cancel(job(2)), _finished()], ids=lambda event: type(event).__name__
)
def test_the_cloudevents_sdk_reads_what_we_write(event: Any) -> None:
    read = _read_by_others(cloudevents.encode(event, source="/imagemill/processor/a"))
    assert read.get_specversion() == "1.0"
    assert read.get_id() == event.event_id
    assert read.get_type() == event.TYPE
    assert read.get_source() == "/imagemill/processor/a"
    assert read.get_subject() == event.job_id
    assert read.get_datacontenttype() == "application/json"
    assert read.get_data()["job_id"] == event.job_id
    age = datetime.now(UTC) - read.get_time()
    assert abs(age.total_seconds()) < 60


def test_the_cloudevents_sdk_reads_states_and_items() -> None:
    state = JobState(job_id="j", total=2, outcomes="s.", revision=3)
    read = _read_by_others(cloudevents.encode_state(state))
    assert (read.get_type(), read.get_id()) == ("io.imagemill.job.state.v1", "j/state/3")
    assert read.get_data()["progress"] == {"total": 2, "processed": 1, "failed": 0}
    read = _read_by_others(cloudevents.encode_item("j", Item(index=1, status=JobStatus.RUNNING)))
    assert (read.get_type(), read.get_subject()) == ("io.imagemill.item.state.v1", "j")
    assert read.get_data()["index"] == 1


def test_we_read_what_the_cloudevents_sdk_writes() -> None:
    written = to_binary_event(
        CloudEvent(
            attributes={
                "id": "1",
                "source": "/shop",
                "type": JobSubmitted.TYPE,
                "datacontenttype": "application/json",
            },
            data={"job_id": "j", "operation": "noop", "total": 1},
        )
    )
    event = cloudevents.decode(list(written.headers.items()), written.value)
    assert event == JobSubmitted(job_id="j", operation="noop", total=1)


def test_the_terminal_event_shows_fields_that_are_empty() -> None:
    """A public contract: readers need not tell a missing field from null."""
    value = json.loads(cloudevents.encode(_finished()).value)
    assert set(value) == set(JobFinished.model_fields)
    assert value["error"] is None
    assert set(value["items"][0]) == set(Item.model_fields)


def test_repeats_of_the_terminal_event_have_one_id() -> None:
    reader = Reader().read([item_fact(ItemFinished, job(1), 0)] * 2)
    first, second = (dict(cloudevents.encode(event).headers) for event in reader.finished)
    assert first["ce_id"] == second["ce_id"] == b"job/job.finished.v1/succeeded"


def test_the_trace_goes_with_a_job_and_its_facts() -> None:
    submitted = job(1).model_copy(update={"traceparent": TRACE})
    for event in (submitted, item_fact(ItemFinished, submitted, 0), cancel(submitted)):
        assert dict(cloudevents.encode(event).headers)["traceparent"] == TRACE.encode()
    assert "traceparent" not in dict(cloudevents.encode(job(1)).headers)


def _headers(kind: str) -> list[tuple[str, Any]]:
    return [("ce_type", kind.encode())]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (None, "no ce_type"),
        ([], "no ce_type"),
        ([("ce_type", None)], "no ce_type"),
        (_headers("io.imagemill.job.submitted.v9"), "unknown event type"),
        ([("ce_type", b"\xff\xfe")], "unknown event type"),
    ],
)
def test_a_message_of_no_known_type_is_refused(headers: Any, reason: str) -> None:
    with pytest.raises(cloudevents.DecodeError, match=reason):
        cloudevents.decode(headers, b"{}")


DEEP = '{"job_id": "j", "total": 1, "metadata": ' + '{"a":' * 190 + "1" + "}" * 191
AT = '"at": "2026-03-01T10:00:00Z"'


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (JobSubmitted, None, "without a value"),
        (JobSubmitted, "", "JSON"),
        (JobSubmitted, "[1, 2]", "object"),
        (JobSubmitted, "[" * 100_000, "JSON"),
        (JobSubmitted, DEEP, "nested too deep"),
        (JobSubmitted, " " * MAX_MESSAGE_BYTES, "bytes"),
        (JobSubmitted, '{"job_id": "\\ud800", "total": 1}', "JSON"),
        (JobSubmitted, '{"job_id": "j", "total": 0}', "total"),
        (JobSubmitted, '{"job_id": "j", "total": 1000000000}', "total"),
        (JobSubmitted, '{"job_id": "j", "total": 1, "priority": "now"}', "priority"),
        (JobSubmitted, '{"job_id": 5, "total": 1}', "job_id"),
        (JobSubmitted, '{"job_id": "", "total": 1}', "job_id"),
        (JobSubmitted, '{"job_id": "a/0", "total": 1}', "job_id"),
        (JobSubmitted, '{"job_id": "j", "total": 1, "created_at": "yesterday"}', "created_at"),
        (ItemFinished, f'{{"job_id": "j", {AT}}}', "index"),
        (ItemFinished, f'{{"job_id": "j", {AT}, "index": -1}}', "index"),
        (ItemFinished, f'{{"job_id": "j", {AT}, "index": 99999999}}', "index"),
        (ItemFinished, '{"job_id": "j", "at": "", "index": 0}', "at"),
        (ItemQueued, '{"job_id": "j", "index": 0, "attempt": -1' + "0" * 400 + "}", "attempt"),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_refused_with_the_reason(
    kind: type[Any], value: str | None, reason: str
) -> None:
    encoded = value.encode() if value is not None else None
    with pytest.raises(cloudevents.DecodeError, match=reason):
        cloudevents.decode(_headers(kind.TYPE), encoded)


@LAW
@given(st.binary(max_size=200), st.sampled_from(sorted(EVENTS)))
def test_no_bytes_raise_anything_else(value: bytes, kind: str) -> None:
    with pytest.raises(cloudevents.DecodeError):
        cloudevents.decode(_headers(kind), value)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b"[]", b'{"job_id": "j", "status": "?"}'])
def test_what_is_no_state_is_refused(value: bytes) -> None:
    with pytest.raises(cloudevents.DecodeError):
        cloudevents.decode_state(value)


@pytest.mark.parametrize("value", [b"", b"{}", b'{"index": "first"}'])
def test_what_is_no_item_is_refused(value: bytes) -> None:
    with pytest.raises(cloudevents.DecodeError):
        cloudevents.decode_item(value)


def test_a_newer_type_can_be_told_from_a_broken_message() -> None:
    with pytest.raises(cloudevents.UnknownType):
        cloudevents.decode(_headers("io.imagemill.job.paused.v1"), b"{}")


def test_an_error_of_a_code_of_tomorrow_is_still_a_job_that_ended() -> None:
    """Readers of this version must not choke on a code that a newer worker knows."""
    encoded = cloudevents.encode(_finished())
    value = json.loads(encoded.value)
    value["error"] = {"code": "internal", "class": "infrastructure", "message": "?", "hint": "!"}
    event = cloudevents.decode(encoded.headers, json.dumps(value).encode())
    assert isinstance(event, JobFinished)
    assert event.error == JobError.of(ErrorCode.INTERNAL, "?")


def test_a_cancel_carries_the_whole_job() -> None:
    encoded = cloudevents.encode(cancel(job(3)))
    event = cloudevents.decode(encoded.headers, encoded.value)
    assert isinstance(event, CancelRequested)
    assert len(event.job.inputs) == 3


def test_times_order_as_strings() -> None:
    encoded = [dict(cloudevents.encode(job(1)).headers)["ce_time"].decode() for _ in range(50)]
    assert encoded == sorted(encoded)
    assert to_epoch(encoded[0]) <= to_epoch(encoded[-1])
