"""The deliveries of a job's end and progress to its webhook and to its owner's endpoints."""

from __future__ import annotations

import asyncio
import json

import pytest

from notifier.endpoints import Endpoints
from notifier.events.bodies import disabled_delivery, sample_delivery
from notifier.events.job_events import JobEvents
from notifier.events.progress import ProgressPosts, running_state
from notifier.posts.delivery import DeliveryTask
from notifier.posts.host_limits import HostLimits
from schemas.cloudevents import encode_item, encode_state
from schemas.jobs import Item, JobState, JobStatus, Webhook, WebhookEvent
from schemas.webhooks import EndpointBody, EndpointStatus, WebhookEndpoint, WebhookTest
from tests.support.endpoints import ID, endpoint
from tests.support.notifier import finished

AT = "2026-01-01T00:00:02.000Z"
BOTH = ("job.finished", "job.failed")
URL = "https://own.test/hook"


class Posts:
    """Posts that end at once."""

    def __init__(self) -> None:
        self.posted: list[DeliveryTask] = []

    async def deliver(self, task: DeliveryTask) -> bool:
        self.posted.append(task)
        return True


def events(*endpoints: WebhookEndpoint, posts: Posts | None = None) -> JobEvents:
    table = Endpoints("endpoints", "status")
    for each in endpoints:
        table.apply("endpoints", each.endpoint_id.encode(), each.model_dump_json().encode())
    limits = HostLimits(total=4, per_host=4, backlog=100, wait_s=1)
    return JobEvents(table, ProgressPosts(limits, posts or Posts(), table), "states")


def test_a_failed_job_reaches_each_by_the_events_it_asked_for():
    found = events(
        endpoint("ep_finished", ("job.finished",)),
        endpoint("ep_failed01", ("job.failed",)),
        endpoint("ep_both0001", BOTH),
    ).ended(finished("j", Webhook(url=URL, events=BOTH), status=JobStatus.FAILED))
    assert {(each.endpoint_id, each.event) for each in found} == {
        (None, "job.finished"),
        (None, "job.failed"),
        ("ep_finished", "job.finished"),
        ("ep_failed01", "job.failed"),
        ("ep_both0001", "job.finished"),
        ("ep_both0001", "job.failed"),
    }
    assert len({each.delivery_id for each in found}) == 6
    assert {json.loads(each.body)["type"] for each in found} == set(BOTH)


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.CANCELLED])
def test_another_end_is_no_failure(status: JobStatus):
    found = events(endpoint(events=("job.failed",))).ended(finished("j", None, status=status))
    assert found == []


def test_a_repeat_has_the_same_webhook_ids():
    parts = events(endpoint(events=BOTH))
    event = finished("j", Webhook(url=URL), status=JobStatus.FAILED)
    assert parts.ended(event) == parts.ended(event)


def test_the_full_body_is_that_of_a_webhook_and_the_thin_one_has_ids_and_links():
    full, thin = endpoint("ep_full0001"), endpoint("ep_thin0001", body=EndpointBody.THIN)
    own, first, second = events(full, thin).ended(finished("j", Webhook(url=URL)))
    assert first.body == own.body
    assert json.loads(second.body) == {
        "type": "job.finished",
        "timestamp": "2026-01-01T00:00:01.000Z",
        "data": {"job_id": "j", "links": {"job": "/v1/jobs/j"}},
    }


def running(outcomes: str, **fields: object) -> JobState:
    state = JobState(job_id="j", total=2, status=JobStatus.RUNNING, outcomes=outcomes)
    return state.evolve(**fields)


async def test_running_jobs_are_posted_to_their_owners_endpoints():
    posts = Posts()
    asking = ("job.started", "job.progress")
    parts = events(
        endpoint("ep_ada00001", asking, owner="ada"),
        endpoint("ep_ada00002", asking, owner="ada", body=EndpointBody.THIN),
        endpoint("ep_bob00001", asking, owner="bob"),
        posts=posts,
    )
    started = parts._progress.observe(running("r.", owner="ada"), AT)
    assert {each.endpoint_id for each in started} == {"ep_ada00001", "ep_ada00002"}
    assert parts._progress.observe(running("sr", owner="ada"), AT) == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bodies = {t.delivery.endpoint_id: json.loads(t.delivery.body) for t in posts.posted}
    assert set(bodies) == {"ep_ada00001", "ep_ada00002"}
    assert bodies["ep_ada00001"]["data"]["progress"]["processed"] == 1
    assert set(bodies["ep_ada00002"]["data"]) == {"job_id", "links"}


def test_states_without_a_webhook_are_decoded_only_for_endpoints():
    value = encode_state(running("r.")).value
    assert running_state(value) is None
    assert running_state(value, any_job=True) is not None
    item = Item(index=0, status=JobStatus.RUNNING)
    assert running_state(encode_item("j", item).value, any_job=True) is None


@pytest.mark.parametrize("body", EndpointBody)
@pytest.mark.parametrize("event", WebhookEvent)
def test_a_test_event_has_the_form_of_the_real_one(event: WebhookEvent, body: EndpointBody):
    command = WebhookTest(command_id="c", endpoint_id=ID, event=event, at=AT)
    made = sample_delivery(command, endpoint(body=body))
    posted = json.loads(made.body)
    assert (posted["type"], posted["timestamp"], posted["test"]) == (event, AT, True)
    assert (made.trigger, made.event, made.endpoint_id) == ("test", event, ID)
    assert made.delivery_id == command.delivery_id
    assert ("links" in posted["data"]) == (body is EndpointBody.THIN)


def test_the_disabled_endpoint_is_described_to_the_others():
    disabled = endpoint(description="Orders", owner="ada")
    status = EndpointStatus(
        endpoint_id=ID,
        disabled_at=AT,
        failing_since="2025-12-27T00:00:00.000Z",
        reason="It failed.",
    )
    made = disabled_delivery(disabled, status, "event", endpoint("ep_87654321", owner="ada"))
    assert json.loads(made.body) == {
        "type": "endpoint.disabled",
        "timestamp": AT,
        "data": {
            "endpoint_id": ID,
            "url": disabled.url,
            "description": "Orders",
            "failing_since": "2025-12-27T00:00:00.000Z",
            "reason": "It failed.",
        },
    }
