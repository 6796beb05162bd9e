"""Ids of jobs: made here, chosen by a client, derived from a key."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from producer_api.ids import (
    id_of_key,
    is_job_id,
    may_be_chosen,
    new_id,
    size_of_upload,
    sized_upload_id,
)
from schemas.jobs import CLIENT_JOB_ID, JobId


def test_ids_are_uuids_that_sort_by_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {uuid.UUID(text).version for text in ids} == {7}
    assert {uuid.UUID(text).variant for text in ids} == {uuid.RFC_4122}
    assert [text[:13] for text in ids] == sorted(text[:13] for text in ids)
    assert all(map(is_job_id, ids))


def test_an_idempotency_key_always_stands_for_the_same_id() -> None:
    assert id_of_key("order-1", None) == id_of_key("order-1", None) != id_of_key("order-2", None)


def test_an_idempotency_key_is_its_owners_own() -> None:
    ids = {id_of_key("order-1", owner) for owner in (None, "alice", "bob")}
    assert len(ids) == 3
    assert all(map(is_job_id, ids))


def test_nobody_may_choose_the_id_that_stands_for_an_owner_s_idempotency_key() -> None:
    """Anybody can compute it: to be refused it would say that the owner has used the key."""
    assert not may_be_chosen(id_of_key("order-1", "alice"))
    for other in (new_id(), str(uuid.uuid4()), "order-77", "key-order-77"):
        assert may_be_chosen(other)


def test_the_id_of_a_key_without_an_owner_is_that_of_earlier_versions() -> None:
    """Else a repeat after an upgrade makes a second job."""
    assert id_of_key("order-1", None) == "ccbab4d0-9419-5886-bc2a-ae3a35d24901"


@pytest.mark.parametrize(
    "text", ["short", "a" * 65, "has space", "../../etc", "sl/ash-sl", "new\nline-", "trailing\n"]
)
def test_ids_that_no_job_may_have(text: str) -> None:
    assert not is_job_id(text)


@given(st.from_regex(CLIENT_JOB_ID, fullmatch=True))
def test_an_id_that_a_client_may_choose_is_one_that_events_carry(text: str) -> None:
    assert TypeAdapter(JobId).validate_python(text) == text


def test_an_upload_s_id_says_the_size_that_it_promises() -> None:
    upload_id = new_id()
    assert size_of_upload(sized_upload_id(upload_id, 1234)) == 1234
    assert is_job_id(sized_upload_id(upload_id, 10**11))
    assert sized_upload_id(upload_id, None) == upload_id
    for other in (upload_id, "order-77-12b", f"{upload_id}-b", f"{upload_id}-1b-2b"):
        assert size_of_upload(other) is None
