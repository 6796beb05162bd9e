"""Things of one key as another key sees them: an API with keys, on a real broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from imagemill.storage.urls import end_of
from producer_api.access.keys.secret import key_id_of, new_key_id
from producer_api.access.scopes import SCOPES
from producer_api.app import ROUTES
from producer_api.http.openapi import openapi_document
from producer_api.ids import id_of_key
from schemas import cloudevents, topics
from schemas.access import Scope
from schemas.events import CancelRequested, JobClaimed, JobSubmitted
from schemas.jobs import Item, JobStatus
from schemas.times import now
from tests.support.api import RunningApi, Topics, fresh_settings
from tests.support.keys import made_key
from tests.support.messages import attempted
from tests.support.pictures import picture
from tests.support.references import Operation, operations_of
from tests.support.waiting import wait_until

SECRET_WORD = "marzipan"
"""In all that is Alice's: no answer to another key may have it."""
OPERATIONS = list(operations_of(openapi_document(ROUTES, SCOPES)))
_USUAL = (Scope.JOBS_WRITE, Scope.JOBS_READ, Scope.RESULTS_READ, Scope.WEBHOOKS, Scope.MODELS)


class Client:
    """Sends requests to an API with one key."""

    def __init__(self, api: RunningApi, secret: str, owner: str) -> None:
        self.api = api
        self.owner = owner
        self.key_id = key_id_of(secret)
        self._headers = {"X-API-Key": secret}

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = self._headers | options.pop("headers", {})
        return self.api.session.request(
            method, self.api.url + path, headers=headers, timeout=30, **options
        )

    def submit(self, **body: Any) -> dict[str, Any]:
        answer = self.ask("POST", "/v1/jobs", json={"operation": "noop"} | body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def job_ids(self) -> set[str]:
        return {job["id"] for job in self.ask("GET", "/v1/jobs?limit=100").json()["jobs"]}


class Keys:
    """Makes keys on the topic of an API."""

    def __init__(self, kafka: Topics) -> None:
        self._kafka = kafka

    def make(self, **rights: Any) -> tuple[str, str]:
        """Return a new key's owner and secret."""
        key, secret = made_key(**{"scopes": _USUAL} | rights)
        self._kafka.publish(
            topics.ACCESS_KEYS.name, key.key_id, key.model_dump_json().encode(), None
        )
        return key.owner, secret


def client_of(api: RunningApi, made: tuple[str, str]) -> Client:
    """Return a client whose key the API has read."""
    client = Client(api, made[1], made[0])
    wait_until(lambda: client.ask("GET", "/v1/jobs"), lambda answer: answer.status_code == 200)
    return client


@dataclass
class System:
    """An API with keys, its topics, and two owners who do not know of each other."""

    api: RunningApi
    kafka: Topics
    keys: Keys
    alice: Client
    mallory: Client
    admin: Client

    def client(self, **rights: Any) -> Client:
        """Return a client with a new key."""
        return client_of(self.api, self.keys.make(**rights))


@pytest.fixture(scope="module")
def system(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = fresh_settings(broker.bootstrap, tmp_path_factory.mktemp("api"), cancel_wait_s=0.1)
    with closing(Topics(settings)) as kafka:
        keys = Keys(kafka)
        made = [
            keys.make(owner="alice"),
            keys.make(owner="mallory"),
            keys.make(scopes=[Scope.ADMIN]),
        ]
        api = RunningApi(settings).start()
        yield System(api, kafka, keys, *(client_of(api, each) for each in made))
        api.stop()


@pytest.fixture(scope="module")
def things(system: System) -> dict[str, str]:
    """Things of Alice: an ended job with a result, an upload, a template, a failed delivery."""
    alice = system.alice
    answer = alice.ask(
        "POST",
        "/v1/jobs",
        files={"image": (f"{SECRET_WORD}.jpg", picture(), "image/jpeg")},
        data={"operation": "noop", "metadata": f'{{"word":"{SECRET_WORD}"}}'},
    )
    assert answer.status_code == 202, answer.text
    job = submission(system, answer.json()["id"])
    key = f"results/{job.job_id}/0.png"
    path = system.api.settings.home / "objects" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(picture("png"))
    item = Item(
        index=0,
        filename=f"{SECRET_WORD}.jpg",
        status=JobStatus.SUCCEEDED,
        attempts=1,
        result={"key": key, "content_type": "image/png", "data": {"message": SECRET_WORD}},
        finished_at=now(),
    )
    system.kafka.end(job, items=(item,))
    wait_until(
        lambda: alice.ask("GET", f"/v1/jobs/{job.job_id}").json()["status"],
        lambda status: status == "succeeded",
    )
    endpoint = make_endpoint(alice)
    return {
        "job": job.job_id,
        "upload": upload(alice),
        "template": make_template(alice),
        "file": key,
        "endpoint": endpoint,
        "delivery": record_delivery(system, job.job_id, endpoint),
        "key": alice.key_id,
    }


def make_template(client: Client) -> str:
    """Create a template; return its name."""
    name = f"{SECRET_WORD}-{uuid.uuid4().hex[:8]}"
    made = client.ask("POST", "/v1/templates", json={"name": name, "operation": "noop"})
    assert made.status_code == 201, made.text
    return name


def make_endpoint(client: Client) -> str:
    """Create a webhook endpoint; return its id."""
    body = {"url": "https://example.com/hook", "description": SECRET_WORD}
    made = client.ask("POST", "/v1/webhooks/endpoints", json=body)
    assert made.status_code == 201, made.text
    return made.json()["id"]


def record_delivery(system: System, job_id: str, endpoint_id: str) -> str:
    """Write a failed attempt at a delivery of Alice's, and its end, as the notifier does."""
    delivery_id = f"msg_{uuid.uuid4().hex}"
    fields = {"job_id": job_id, "endpoint_id": endpoint_id, "owner": "alice"}
    attempt = attempted(delivery_id, now(), **fields, response=SECRET_WORD)
    value, headers = cloudevents.encode(attempt)
    system.kafka.publish(topics.WEBHOOKS_ATTEMPTS.name, delivery_id, value, headers)
    path = f"/v1/webhooks/deliveries/{delivery_id}"
    wait_until(lambda: system.alice.ask("GET", path), lambda answer: answer.ok)
    return delivery_id


def upload(client: Client) -> str:
    """Upload an image beside a job; return its id."""
    target = client.ask("POST", "/v1/uploads", json={"content_type": "image/jpeg"}).json()
    url = client.api.url + target["url"].removeprefix(client.api.settings.public_base_url)
    sent = requests.put(url, data=picture(), headers=target["headers"], timeout=30)
    assert sent.status_code == 204, sent.text
    return target["upload_id"]


def submission(system: System, job_id: str) -> JobSubmitted:
    (job,) = (job for job in system.kafka.submissions() if job.job_id == job_id)
    return job


def unknown() -> dict[str, str]:
    """Names of the same kinds that stand for nothing."""
    return {
        "job": str(uuid.uuid4()),
        "upload": str(uuid.uuid4()),
        "template": f"t-{uuid.uuid4().hex}",
        "file": f"results/{uuid.uuid4()}/0.png",
        "endpoint": f"ep_{uuid.uuid4().hex[:24]}",
        "delivery": f"msg_{uuid.uuid4().hex}",
        "key": new_key_id(),
    }


_BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "upload_id": lambda value: {"operation": "noop", "inputs": [{"upload_id": value}]},
    "template": lambda value: {"template": value},
}
"""Bodies that name one thing of an owner, by the name of the member."""
_PLAIN_BODIES: dict[str, dict[str, Any]] = {
    "PATCH /v1/webhooks/endpoints/{endpoint_id}": {"description": "changed"},
    "POST /v1/webhooks/endpoints/{endpoint_id}/replay": {"since": "2026-01-01T00:00:00Z"},
}
"""Valid bodies of operations that need one, where the path names the thing."""


def asked(
    client: Client, operation: Operation, kinds: dict[str, str], member: str | None
) -> requests.Response:
    """Send a request with these things in the path, the query, and in that member of the body."""
    path = operation.path
    for name in operation.path_names:
        kind = operation.kind_of(name)
        value = operation.value_of(name) if kind is None else kinds[kind]
        path = path.replace(f"{{{name}}}", value or "")
    query = {
        name: kinds[kind] for name in operation.query_names if (kind := operation.kind_of(name))
    }
    body = _PLAIN_BODIES.get(operation.label)
    if member is not None:
        assert member in _BODIES, f"make a body with {member} in _BODIES"
        body = _BODIES[member](kinds[str(operation.kind_of(member))])
    return client.ask(operation.method, path, params=query, json=body)


def shown(answer: requests.Response, kinds: dict[str, str]) -> tuple[int, str, list[str]]:
    """Return an answer without the names that were sent, and without its time."""
    text = answer.text
    for kind, name in kinds.items():
        text = text.replace(name, f"<{kind}>")
    return answer.status_code, text, sorted(set(answer.headers) - {"Date", "Content-Length"})


def referring() -> list[tuple[Operation, str | None]]:
    """Return each operation that names something of an owner, with the member of its body."""
    found: list[tuple[Operation, str | None]] = []
    for operation in OPERATIONS:
        if any(operation.kind_of(name) for name in operation.path_names + operation.query_names):
            found.append((operation, None))
        found += [(operation, name) for name in operation.body_names if operation.kind_of(name)]
    return found


# It makes a job where the id is free: see the test of ids below.
_CREATES = ("PUT", "/v1/jobs/{job_id}")
_REFERRING = [
    pytest.param(operation, member, id=f"{operation.label} {member or ''}".strip())
    for operation, member in referring()
    if (operation.method, operation.path) != _CREATES
]


@pytest.mark.parametrize(("operation", "member"), _REFERRING)
def test_a_stranger_gets_the_answer_for_what_does_not_exist(
    system: System, things: dict[str, str], operation: Operation, member: str | None
) -> None:
    nothing = unknown()
    answer = asked(system.mallory, operation, things, member)
    assert shown(answer, things) == shown(
        asked(system.mallory, operation, nothing, member), nothing
    )
    assert SECRET_WORD not in shown(answer, things)[1]
    is_list = operation.path in ("/get_result", "/v1/webhooks/deliveries")
    assert answer.status_code in (403, 404, 422) or is_list


# Of signed URLs the signature is the permission, for the owner too, and keys are administrators'.
# What changes or ends a thing comes last.
_BY_HARM = sorted(
    (case for case in _REFERRING if not case.values[0].path.startswith(("/files/", "/v1/keys/"))),
    key=lambda case: (case.values[0].method != "GET", str(case.id)),
)


@pytest.mark.parametrize(("operation", "member"), _BY_HARM)
def test_the_owner_gets_another_answer_than_for_what_does_not_exist(
    system: System, things: dict[str, str], operation: Operation, member: str | None
) -> None:
    """Else the test above would compare two refusals that have nothing to do with the owner."""
    if operation.method == "DELETE":
        things = things | {
            "template": make_template(system.alice),
            "endpoint": make_endpoint(system.alice),
        }
    nothing = unknown()
    assert shown(asked(system.alice, operation, things, member), things) != shown(
        asked(system.alice, operation, nothing, member), nothing
    )


def test_strangers_have_changed_nothing(system: System, things: dict[str, str]) -> None:
    found = system.kafka.messages(topics.JOBS_CONTROL.name)
    events = [cloudevents.decode(message.headers(), message.value()) for message in found]
    cancelled = {event.job_id for event in events if isinstance(event, CancelRequested)}
    job_id = system.alice.submit()["id"]
    for path in (f"/v1/jobs/{job_id}/cancel", f"/queue/job/{job_id}/cancel"):
        assert system.mallory.ask("POST", path).status_code == 404
    again = system.kafka.messages(topics.JOBS_CONTROL.name)
    events = [cloudevents.decode(message.headers(), message.value()) for message in again]
    assert {event.job_id for event in events if isinstance(event, CancelRequested)} == cancelled
    for path in (
        f"/v1/templates/{things['template']}",
        f"/v1/webhooks/endpoints/{things['endpoint']}",
    ):
        assert system.alice.ask("GET", path).status_code == 200


_PLAIN = [
    operation
    for operation in OPERATIONS
    if operation.method == "GET" and not operation.path_names and "id" not in operation.query_names
]


@pytest.mark.parametrize("operation", _PLAIN, ids=lambda operation: operation.label)
def test_no_list_and_no_count_has_anything_of_another_owner(
    system: System, things: dict[str, str], operation: Operation
) -> None:
    answer = system.mallory.ask("GET", operation.path)
    assert answer.status_code in (200, 403)
    for word in (SECRET_WORD, things["job"], things["upload"], "alice"):
        assert word not in answer.text


def test_counts_are_of_the_callers_own_jobs(system: System, things: dict[str, str]) -> None:
    dora = system.client(owner="dora")
    job_id = dora.submit()["id"]
    stats = wait_until(
        lambda: dora.ask("GET", "/v1/stats").json(), lambda got: got["jobs"]["total"] == 1
    )
    assert stats["jobs"]["by_operation"] == {"noop": stats["jobs"]["by_status"]}
    assert stats["lag"] is None and stats["current"] is True
    assert dora.ask("GET", "/queue/stats").json()["stats"]["total"] == 1
    assert dora.job_ids() == {job_id}
    assert [job["id"] for job in dora.ask("GET", "/queue/jobs").json()["jobs"]] == [job_id]
    everything = system.admin.ask("GET", "/v1/stats").json()
    assert everything["jobs"]["total"] > 1
    assert everything["lag"]["normal"] >= 1


def test_an_administrator_sees_the_jobs_of_all_owners(
    system: System, things: dict[str, str]
) -> None:
    document = system.admin.ask("GET", f"/v1/jobs/{things['job']}").json()
    assert document["owner"] == "alice"
    assert things["job"] in system.admin.job_ids()
    assert system.admin.ask("GET", f"/v1/jobs/{things['job']}/items/0/result").ok


def test_keys_of_one_owner_see_the_same_jobs(system: System, things: dict[str, str]) -> None:
    second = system.client(owner="alice")
    assert second.ask("GET", f"/v1/jobs/{things['job']}").status_code == 200


def test_a_key_that_sees_all_jobs_may_read_those_of_others(
    system: System, things: dict[str, str]
) -> None:
    reader = system.client(owner="reports", own_only=False, scopes=[Scope.JOBS_READ])
    assert things["job"] in reader.job_ids()


@pytest.mark.parametrize("path", ["/v1/jobs/{}/cancel", "/queue/job/{}/cancel"])
def test_a_key_that_sees_all_jobs_cancels_no_other_owners(system: System, path: str) -> None:
    reports = system.client(owner="reports", own_only=False)
    job_id = system.alice.submit()["id"]
    assert reports.ask("POST", path.format(job_id)).status_code == 403
    assert reports.ask("POST", path.format(reports.submit()["id"])).status_code == 202
    assert system.admin.ask("POST", path.format(job_id)).status_code == 202


def test_two_owners_may_use_one_idempotency_key(system: System) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"operation": "noop", "metadata": {"order": 1}}
    first = system.alice.ask("POST", "/v1/jobs", json=body, headers=key)
    other = system.mallory.ask("POST", "/v1/jobs", json={"operation": "noop"}, headers=key)
    again = system.alice.ask("POST", "/v1/jobs", json=body, headers=key)
    assert (first.status_code, other.status_code, again.status_code) == (202, 202, 202)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert "Idempotent-Replayed" in again.headers
    assert "Idempotent-Replayed" not in other.headers


@pytest.mark.parametrize("used", [True, False])
def test_nobody_learns_of_or_takes_the_idempotency_key_of_another_owner(
    system: System, used: bool
) -> None:
    key = uuid.uuid4().hex
    headers, body = {"Idempotency-Key": key}, {"operation": "noop"}
    if used:
        assert system.alice.ask("POST", "/v1/jobs", json=body, headers=headers).ok
    guessed = f"/v1/jobs/{id_of_key(key, 'alice')}"
    refused = system.mallory.ask("PUT", guessed, json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "id_invalid")
    assert system.mallory.ask("GET", guessed).status_code == 404
    assert system.alice.ask("POST", "/v1/jobs", json=body, headers=headers).ok


@pytest.mark.parametrize("same", [True, False])
def test_the_id_of_another_owners_job_is_refused_and_nothing_is_told_of_it(
    system: System, same: bool
) -> None:
    job_id = f"order-{uuid.uuid4().hex}"
    body = {"operation": "noop", "metadata": {"word": SECRET_WORD}}
    assert system.alice.ask("PUT", f"/v1/jobs/{job_id}", json=body).status_code == 202
    files_before = system.api.stored_files()
    wanted = body if same else {"operation": "noop"}
    refused = system.mallory.ask("PUT", f"/v1/jobs/{job_id}", json=wanted)
    assert (refused.status_code, refused.json()["code"]) == (409, "id_taken")
    assert SECRET_WORD not in refused.text and "alice" not in refused.text
    assert system.api.stored_files() == files_before
    assert system.alice.ask("PUT", f"/v1/jobs/{job_id}", json=body).status_code == 202
    assert len([job for job in system.kafka.submissions() if job.job_id == job_id]) == 1


def test_an_id_that_another_owner_has_claimed_is_refused_before_its_job_is_there(
    system: System,
) -> None:
    """Else the order of two requests at two APIs would decide whose job it is."""
    job_id = f"order-{uuid.uuid4().hex}"
    claim = JobClaimed(
        job_id=job_id, claim_id=uuid.uuid4().hex, fingerprint="f", at=now(), owner="alice"
    )
    value, headers = cloudevents.encode(claim)
    system.kafka.publish(topics.JOBS_CONTROL.name, job_id, value, headers)
    answers = [
        client.ask("PUT", f"/v1/jobs/{job_id}", json={"operation": "noop"})
        for client in (system.mallory, system.alice)
    ]
    assert [answer.json()["code"] for answer in answers] == ["id_taken", "repeat_differs"]
    assert job_id not in {job.job_id for job in system.kafka.submissions()}


def test_two_owners_may_have_templates_of_one_name(system: System) -> None:
    name = f"thumb-{uuid.uuid4().hex[:8]}"
    for client, operation in ((system.alice, "noop"), (system.mallory, "read-text")):
        made = client.ask("POST", "/v1/templates", json={"name": name, "operation": operation})
        assert made.status_code == 201, made.text
    assert system.alice.ask("GET", f"/v1/templates/{name}").json()["operation"] == "noop"
    assert system.alice.submit(operation=None, template=name)["operation"] == "noop"
    assert system.mallory.ask("DELETE", f"/v1/templates/{name}").status_code == 204
    assert system.alice.ask("GET", f"/v1/templates/{name}").status_code == 200
    assert system.mallory.ask("GET", f"/v1/templates/{name}").status_code == 404


def test_the_key_of_another_owners_template_is_no_name(system: System) -> None:
    name = f"own-{uuid.uuid4().hex[:8]}"
    system.alice.ask("POST", "/v1/templates", json={"name": name, "operation": "noop"})
    assert system.mallory.ask("GET", f"/v1/templates/alice%2F{name}").status_code == 404
    refused = system.mallory.ask("POST", "/v1/jobs", json={"template": f"alice/{name}"})
    assert (refused.status_code, refused.json()["code"]) == (422, "not_found")


def test_everybody_uses_shared_templates_and_an_administrator_changes_them(
    system: System,
) -> None:
    name = f"shared-{uuid.uuid4().hex[:8]}"
    template = {"name": name, "operation": "noop"}
    assert system.admin.ask("POST", "/v1/templates", json=template).status_code == 201
    assert system.mallory.submit(operation=None, template=name)["template"] == name
    listed = system.mallory.ask("GET", "/v1/templates").json()["templates"]
    assert name in {each["name"] for each in listed}
    refused = system.mallory.ask("DELETE", f"/v1/templates/{name}")
    assert (refused.status_code, refused.json()["code"]) == (403, "template_shared")
    # A name of one's own hides the shared one.
    own = template | {"operation": "read-text"}
    assert system.mallory.ask("POST", "/v1/templates", json=own).status_code == 201
    assert system.mallory.ask("GET", f"/v1/templates/{name}").json()["operation"] == "read-text"
    assert system.alice.ask("GET", f"/v1/templates/{name}").json()["operation"] == "noop"
    assert system.admin.ask("DELETE", f"/v1/templates/{name}").status_code == 204


def test_file_urls_live_an_hour_and_a_key_without_results_read_gets_none(
    system: System, things: dict[str, str]
) -> None:
    reader = system.client(owner="alice", scopes=[Scope.JOBS_READ])
    job = submission(system, things["job"])
    item = Item(
        index=0,
        status=JobStatus.SUCCEEDED,
        result={"key": things["file"], "url": "http://127.0.0.1/files/x", "data": {"a": 1}},
    )
    system.kafka.end(job, revision=9, items=(item,))
    wait_until(
        lambda: system.alice.ask("GET", f"/v1/jobs/{job.job_id}").json()["items"][0]["result"],
        lambda result: "url" in result,
    )
    signed = system.alice.ask("GET", f"/v1/jobs/{job.job_id}").json()["items"][0]["result"]["url"]
    ends = end_of(signed)
    assert ends is not None and ends - time.time() <= 3600
    result = reader.ask("GET", f"/v1/jobs/{job.job_id}").json()["items"][0]["result"]
    assert "url" not in result and result["data"] == {"a": 1}
    entries = reader.ask("GET", "/get_result", params={"id": job.job_id}).json()
    assert entries == [{"id": job.job_id, "status": "completed", "image_url": None}]
    ended = reader.ask("GET", f"/queue/job/{job.job_id}").json()
    assert ended["results"][0]["url"] is None
    assert b"http://" not in reader.ask("GET", f"/v1/jobs/{job.job_id}/events").content


def test_a_job_carries_the_owner_and_the_weight_of_its_key(system: System) -> None:
    client = system.client(owner="erin", weight=7)
    job = submission(system, client.submit()["id"])
    assert (job.owner, job.weight) == ("erin", 7)
    sent = client.ask(
        "POST", "/remove_background", files={"image": ("a.jpg", picture(), "image/jpeg")}
    )
    job = submission(system, sent.json()["id"])
    assert (job.owner, job.weight) == ("erin", 7)


def test_a_dialects_paid_user_gets_the_highest_priority_of_the_key(system: System) -> None:
    client = system.client(owner="erin", max_priority="normal")
    files = {"image": ("a.jpg", picture(), "image/jpeg")}
    sent = client.ask("POST", "/remove_background", files=files, data={"is_paid_user": "true"})
    assert submission(system, sent.json()["id"]).priority == "normal"
    refused = client.ask("POST", "/v1/jobs", json={"operation": "noop", "priority": "high"})
    assert (refused.status_code, refused.json()["code"]) == (403, "priority_not_allowed")


def test_a_dialect_refuses_what_the_key_does_not_allow_in_its_own_form(system: System) -> None:
    client = system.client(owner="erin", urls_allowed=False, webhooks_allowed=False)
    refused = client.ask(
        "POST", "/remove_background", data={"image_url": "https://example.org/a.png"}
    )
    assert refused.status_code == 403
    assert "image URLs" in refused.json()["error"]


def test_a_daily_quota_counts_images_at_all_apis_and_over_a_restart(
    system: System, tmp_path: Any
) -> None:
    made = system.keys.make(owner="frank", images_per_day=3, megapixels_per_day=1)
    frank = client_of(system.api, made)

    def send(client: Client, count: int) -> requests.Response:
        return client.ask(
            "POST",
            "/v1/jobs",
            data={"operation": "noop"},
            files=[("image", (f"{n}.jpg", picture(), "image/jpeg")) for n in range(count)],
        )

    first = send(frank, 2)
    assert first.status_code == 202
    policies = first.headers["RateLimit-Policy"]
    assert policies.startswith('"images-per-day";q=3;qu="images";w=86400')
    assert '"megapixels-per-day";q=1;qu="megapixels";w=86400' in policies
    assert first.headers["RateLimit"].startswith('"images-per-day";r=1;t=')
    settings = system.api.settings.model_copy(
        update={"projection_path": tmp_path / "projection.db"}
    )
    # Another API, whose read model is filled from the topics.
    other = RunningApi(settings).start()
    try:
        beside = client_of(other, made)
        refused = send(beside, 2)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert refused.json()["violated-policies"] == ["images-per-day"]
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
        assert send(beside, 1).status_code == 202
    finally:
        other.stop()
    # Refused here as soon as the other API's job is read, before the body is.
    empty = wait_until(
        lambda: frank.ask("POST", "/v1/jobs", json={"operation": "noop"}),
        lambda answer: answer.status_code == 429,
    )
    assert empty.headers["RateLimit"].startswith('"images-per-day";r=0;t=')
    assert [job.owner for job in system.kafka.submissions()].count("frank") <= 3
    assert system.alice.ask("POST", "/v1/jobs", json={"operation": "noop"}).status_code == 202


def test_a_repeat_counts_nothing(system: System) -> None:
    client = system.client(owner="gina", images_per_day=1)
    job_id = f"order-{uuid.uuid4().hex}"
    files = {"image": ("a.jpg", picture(), "image/jpeg")}

    def put() -> requests.Response:
        return client.ask("PUT", f"/v1/jobs/{job_id}", data={"operation": "noop"}, files=files)

    first, again = put(), put()
    assert first.headers["RateLimit"].startswith('"images-per-day";r=0;')
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotent-Replayed"] == "true"
    refused = client.ask("PUT", f"/v1/jobs/other-{job_id}", data={"operation": "noop"}, files=files)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")


def test_requests_a_second_are_limited_and_shown(system: System) -> None:
    owner, secret = system.keys.make(owner="hugo", requests_per_s=0.5)
    client = Client(system.api, secret, owner)
    # Answered 401 while the API has not read the key, which takes nothing from its bucket.
    first = wait_until(
        lambda: client.ask("GET", "/v1/operations"), lambda answer: answer.status_code == 200
    )
    assert first.headers["RateLimit-Policy"] == '"requests";q=1;w=2'
    assert first.headers["RateLimit"] == '"requests";r=0;t=2'
    refused = client.ask("GET", "/v1/operations")
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["Content-Type"] == "application/problem+json"
    wait_s = refused.headers["Retry-After"]
    assert wait_s in ("1", "2")
    assert refused.headers["RateLimit"] == f'"requests";r=0;t={wait_s}'
    assert "RateLimit" not in system.alice.ask("GET", "/v1/operations").headers


def test_a_stream_of_events_shows_the_limits_too(system: System) -> None:
    client = system.client(owner="ines", requests_per_s=100)
    job_id = client.submit()["id"]
    answer = client.ask("GET", f"/v1/jobs/{job_id}/events", stream=True)
    assert answer.headers["RateLimit"].startswith('"requests";r=')
    answer.close()


def test_a_stream_of_events_ends_when_its_key_is_revoked(system: System) -> None:
    client = system.client(owner="jo")
    job = submission(system, client.submit()["id"])
    path, opened_s = f"/v1/jobs/{job.job_id}/events", time.monotonic()
    with client.ask("GET", path, stream=True) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith(b"event:")) == b"event: status"
        answer = system.admin.ask("DELETE", f"/v1/keys/{client.key_id}")
        assert answer.status_code == 204
        # A stream looks at its key once a second.
        wait_until(lambda: time.monotonic() - opened_s > 1.1)
        system.kafka.end(job)
        assert not any(line.startswith(b"event:") for line in lines)
