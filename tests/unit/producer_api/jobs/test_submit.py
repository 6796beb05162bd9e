"""Jobs as requests make them: limits, inputs, fingerprints, and the event that is published."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from imagemill.images.check import ImageLimits, ImageRejected
from imagemill.settings import ApiSettings
from imagemill.storage import LocalStore, UrlSigner, loose_upload_key
from imagemill.storage.asynchronous import AsyncStore
from producer_api.access.caller import ANYONE, Caller
from producer_api.http.forms import SubmitBody
from producer_api.http.multipart import FormLimits
from producer_api.http.problems import Problem
from producer_api.jobs.fingerprint import fingerprint
from producer_api.jobs.inputs import MAX_UPLOAD_AGE_S, check_count, store_inputs
from producer_api.jobs.limits import RequestLimits, check_queue_limit
from producer_api.jobs.plan import ResolvedOperations, resolve_operations
from producer_api.jobs.staging import Staging
from producer_api.jobs.submit import SubmitRequest, job_of
from schemas.jobs import Job, Priority, WebhookStyle
from schemas.templates import Template
from schemas.times import to_epoch
from tests.support.pictures import picture

LIMITS = RequestLimits(ImageLimits(max_bytes=20_000), FormLimits(5, 1024, 20_000))
FULL: dict[str, Any] = {
    "operations": ["remove-background", {"operation": "read-text", "params": {"find": "a"}}],
    "priority": "high",
    "webhook": {"url": "https://example.org/hook", "events": ["job.started", "job.finished"]},
    "metadata": {"order": 7},
    "expires_in": 60,
    "inputs": [
        {"url": "https://example.org/a.png"},
        {"upload_id": "abcdefgh", "filename": "b.png"},
    ],
}
# One value for each field that differs from the one in FULL.
OTHER: dict[str, Any] = {
    "operations": ["noop", "noop"],
    "priority": "low",
    "webhook": {"url": "https://example.org/other"},
    "metadata": {},
    "expires_in": 61,
    "inputs": [],
}


@pytest.fixture
def store(tmp_path: Path) -> AsyncStore:
    signer = UrlSigner("a secret of tests")
    return AsyncStore(LocalStore(tmp_path / "objects", "http://127.0.0.1", signer))


def staging_in(store: AsyncStore) -> Staging:
    return Staging(store, "uploads/job-00001.", LIMITS.image)


def digest_of(document: dict[str, Any], template: Template | None = None) -> str:
    body = SubmitBody.model_validate(document)
    return fingerprint(body, resolve_operations(body, template), ())


def made(document: dict[str, Any], **fields: Any) -> Any:
    body = SubmitBody.model_validate(document)
    request = SubmitRequest("job-00001", body, fields.pop("caller", ANYONE), **fields)
    return job_of(request, resolve_operations(body, None), (), "d1", 3600.0)


def test_the_settings_are_the_only_limit_of_an_image(tmp_path: Path) -> None:
    settings = ApiSettings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    limits = RequestLimits.of(settings)
    assert limits.image == ImageLimits()
    assert limits.image.max_bytes == limits.form.max_image_bytes == settings.max_image_bytes


@pytest.mark.parametrize("queued", [3, 4])
def test_a_full_queue_is_answered_before_the_body_is_read(queued: int) -> None:
    check_queue_limit(2, 3)
    with pytest.raises(Problem) as caught:
        check_queue_limit(queued, 3)
    assert (caught.value.status, caught.value.code) == (429, "queue_full")
    assert int(caught.value.headers["Retry-After"]) > 0
    assert caught.value.headers["RateLimit-Policy"] == '"queue";q=3;qu="jobs"'
    assert caught.value.headers["RateLimit"] == '"queue";r=0;t=10'


@pytest.mark.parametrize(
    ("count", "needs_image", "status"),
    [(0, True, 422), (0, False, None), (1, True, None), (5, True, None), (6, True, 413)],
)
def test_a_job_has_as_many_images_as_its_operation_and_the_limit_ask_for(
    count: int, needs_image: bool, status: int | None
) -> None:
    operations = ResolvedOperations("noop", needs_image=needs_image)
    if status is None:
        return check_count(operations, count, 5)
    with pytest.raises(Problem) as caught:
        check_count(operations, count, 5)
    assert caught.value.status == status


async def test_inputs_stand_in_the_order_of_the_request(store: AsyncStore) -> None:
    """A form with a URL, a file, a URL and a file."""
    entries = SubmitBody.model_validate(
        {"inputs": [{"url": "https://example.org/0"}, {"url": "https://example.org/2"}]}
    ).inputs
    async with staging_in(store) as staging:
        for index in (1, 3):
            incoming = staging.begin(index, f"{index}.jpg")
            incoming.write(picture())
            incoming.end()
        inputs = await store_inputs(staging, entries, None, store, LIMITS)
        staging.keep()
    assert [given.url or given.filename for given in inputs] == [
        "https://example.org/0",
        "1.jpg",
        "https://example.org/2",
        "3.jpg",
    ]
    assert store.blocking.get(str(inputs[1].key)) == picture()


@pytest.mark.parametrize(
    ("age_s", "data", "refused"),
    [
        (0, picture(), None),
        (MAX_UPLOAD_AGE_S + 60, picture(), "upload_expired"),
        (0, picture() + bytes(20_000), "image_too_large"),
        (0, None, "not_found"),
        (0, b"no image", "image_undecodable"),
    ],
)
async def test_an_upload_is_checked_when_a_job_names_it(
    store: AsyncStore, age_s: float, data: bytes | None, refused: str | None
) -> None:
    key = loose_upload_key("abcdefgh")
    if data is not None:
        store.blocking.put(key, data, "image/jpeg")
        path = store.local_path(key)
        assert path is not None
        os.utime(path, (time.time() - age_s,) * 2)
    entries = SubmitBody.model_validate({"inputs": [{"upload_id": "abcdefgh"}]}).inputs
    async with staging_in(store) as staging:
        if refused is None:
            (given,) = await store_inputs(staging, entries, None, store, LIMITS)
            assert (given.key, given.bytes) == (key, len(picture()))
            return
        with pytest.raises((Problem, ImageRejected)) as caught:
            await store_inputs(staging, entries, None, store, LIMITS)
    assert caught.value.code == refused


async def test_an_upload_of_another_owner_is_not_there(store: AsyncStore) -> None:
    entries = SubmitBody.model_validate({"inputs": [{"upload_id": "abcdefgh"}]}).inputs
    store.blocking.put(loose_upload_key("abcdefgh", "alice"), picture(), "image/jpeg")
    async with staging_in(store) as staging:
        (given,) = await store_inputs(staging, entries, "alice", store, LIMITS)
        assert given.bytes == len(picture())
        refusals = []
        for owner, upload_id in (("bob", "abcdefgh"), (None, "abcdefgh"), ("bob", "abcdefgx")):
            entries = SubmitBody.model_validate({"inputs": [{"upload_id": upload_id}]}).inputs
            with pytest.raises(Problem) as caught:
                await store_inputs(staging, entries, owner, store, LIMITS)
            refusals.append((caught.value.code, caught.value.detail.replace(upload_id, "ID")))
    assert len(set(refusals)) == 1
    assert refusals[0][0] == "not_found"


async def test_nothing_is_stored_when_an_upload_is_missing(store: AsyncStore) -> None:
    entries = SubmitBody.model_validate({"inputs": [{"upload_id": "abcdefgh"}]}).inputs
    with pytest.raises(Problem):
        async with staging_in(store) as staging:
            incoming = staging.begin(0, "a.jpg")
            incoming.write(picture())
            incoming.end()
            await store_inputs(staging, entries, None, store, LIMITS)
    assert list(store.blocking.iter_keys()) == []


def test_a_request_has_the_fingerprint_that_earlier_versions_gave_it() -> None:
    """Else a repeat after an upgrade is answered 422."""
    assert digest_of({"operation": "noop"}) == (
        "d5414177a24ee1ff23c19188c9c2b3ebfcf8b2a367a5947a59b20b1dd60db1f8"
    )
    assert digest_of(FULL) == "ba8903b40ac99b6adeb42a1bc0ec47525a389c4e5ff78f5a0312efdbb743a4f3"


RESOLVED = {"operation", "params", "template"}


@pytest.mark.parametrize("name", sorted(SubmitBody.model_fields.keys() - RESOLVED))
def test_requests_that_differ_in_one_field_differ_in_their_fingerprint(name: str) -> None:
    assert name in OTHER, f"give {name} a value in OTHER"
    assert digest_of(FULL | {name: OTHER[name]}) != digest_of(FULL)


def test_a_template_and_its_content_are_the_same_request() -> None:
    template = Template(operation="detect-objects", params={"confidence": 0.5})
    named = digest_of({"template": "finder"}, template)
    assert named == digest_of({"operation": "detect-objects", "params": {"confidence": 0.5}})
    assert named != digest_of({"operation": "detect-objects"})


async def test_the_bytes_and_the_names_of_images_are_part_of_a_request(store: AsyncStore) -> None:
    async def digest(data: bytes, filename: str) -> str:
        async with staging_in(store) as staging:
            incoming = staging.begin(0, filename)
            incoming.write(data)
            incoming.end()
            body = SubmitBody(operation="noop")
            return fingerprint(body, resolve_operations(body, None), staging.images)

    first = await digest(picture(), "a.jpg")
    assert first == await digest(picture(), "a.jpg")
    assert first != await digest(picture(), "b.jpg")
    assert first != await digest(picture() + b"\0", "a.jpg")


def test_a_job_carries_what_its_request_asked_for() -> None:
    job = made(
        FULL, dialect="inference", webhook_style=WebhookStyle.BACKGROUND_REMOVAL, traceparent="00-1"
    )
    assert job.priority is Priority.HIGH
    assert [step.operation for step in job.pipeline] == ["remove-background", "read-text"]
    assert job.metadata == {"order": 7}
    assert (job.webhook.url, job.webhook.style) == (
        "https://example.org/hook",
        "background_removal",
    )
    assert list(job.webhook.events) == ["job.started", "job.finished"]
    assert (job.dialect, job.traceparent, job.fingerprint) == ("inference", "00-1", "d1")
    assert made({"operation": "noop"}).priority is Priority.NORMAL


def test_a_job_belongs_to_the_owner_of_the_key() -> None:
    caller = Caller(owner="alice", own_only=True, weight=3)
    assert (made(FULL, caller=caller).owner, made(FULL, caller=caller).weight) == ("alice", 3)
    assert (made(FULL).owner, made(FULL).weight) == (None, 1)


def test_a_job_without_a_priority_gets_the_highest_that_its_key_allows_up_to_normal() -> None:
    low = Caller(owner="alice", max_priority=Priority.LOW)
    assert made({"operation": "noop"}, caller=low).priority is Priority.LOW


@pytest.mark.parametrize(("asked", "lifetime_s"), [(60, 60), (3601, 3600), (10**12, 3600)])
def test_a_job_expires_with_the_retention_at_the_latest(asked: int, lifetime_s: int) -> None:
    job = made(FULL | {"expires_in": asked})
    lasts_s = to_epoch(job.expires_at) - to_epoch(job.created_at)
    assert lasts_s == pytest.approx(lifetime_s, abs=0.01)


def test_every_field_that_a_client_gives_reaches_the_job() -> None:
    """A field of SubmitBody is one of the job's, or stands for some of them."""
    stands_for = {"operations": "pipeline", "inputs": "total", "expires_in": "expires_at"}
    fields = {stands_for.get(name, name) for name in SubmitBody.model_fields}
    assert fields <= Job.model_fields.keys()
