"""Keys over the real broker: made, rotated and revoked at one API, and known at all others."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from imagemill.cli import main
from imagemill.cli.prepare import ensure_key
from producer_api.access.guard import NoKeys
from producer_api.app import create_app
from producer_api.http.server import Runner
from schemas import topics
from schemas.access import KeyUsed
from schemas.audit import AuditRecord
from tests.support.api import RunningApi, Topics
from tests.support.waiting import wait_until

Serve = Callable[..., tuple[RunningApi, Topics]]
Run = Callable[..., Any]
# All APIs agree on the keys within this time.
AGREED_S = 1.0


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def status(api: RunningApi, secret: str) -> int:
    return api.get("/v1/jobs", headers=bearer(secret)).status_code


@pytest.fixture
def served(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> tuple[RunningApi, Topics]:
    """An API whose settings the command line shares, and its topics."""
    api, kafka = serve(access_query=True)
    use_settings(api.settings, monkeypatch)
    return api, kafka


def use_settings(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", settings.kafka_bootstrap_servers)
    monkeypatch.setenv("IMAGEMILL_HOME", str(settings.home))
    monkeypatch.setenv("IMAGEMILL_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("IMAGEMILL_TOPIC_PARTITIONS", str(settings.topic_partitions))


@pytest.fixture
def other(served: tuple[RunningApi, Topics], tmp_path: Path) -> Iterator[RunningApi]:
    """Another API on the same topics."""
    settings = served[0].settings.model_copy(update={"projection_path": tmp_path / "other.db"})
    running = RunningApi(settings).start()
    yield running
    running.stop()


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `imagemill keys ... --json` and return what it printed."""

    def run(*words: str) -> Any:
        capsys.readouterr()
        assert main(["keys", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def admin(served: tuple[RunningApi, Topics], keys: Run) -> dict[str, str]:
    """The headers of an admin's key, which the API takes."""
    made = keys("create", "--name", "first", "--admin")
    wait_until(lambda: served[0].get("/v1/jobs").status_code == 401, timeout_s=AGREED_S)
    return bearer(made["secret"])


def test_all_apis_agree_on_a_key_within_a_second(
    served: tuple[RunningApi, Topics], other: RunningApi, admin: dict[str, str]
) -> None:
    api, _ = served
    made = api.post("/v1/keys", json={"name": "shop"}, headers=admin)
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    key, secret = made.json(), made.json()["secret"]
    assert status(api, secret) == 200
    wait_until(lambda: status(other, secret) == 200, timeout_s=AGREED_S)

    rotated = other.post(f"/v1/keys/{key['id']}/rotate", json={"overlap_s": 60}, headers=admin)
    newer = rotated.json()["secret"]
    assert [each["last_four"] for each in rotated.json()["secrets"]] == [secret[-4:], newer[-4:]]
    wait_until(lambda: status(api, newer) == 200, timeout_s=AGREED_S)
    assert (status(api, secret), status(other, secret)) == (200, 200)

    newest = api.post(f"/v1/keys/{key['id']}/rotate", json={"overlap_s": 0}, headers=admin)
    newest_secret = newest.json()["secret"]
    wait_until(lambda: status(other, newest_secret) == 200, timeout_s=AGREED_S)
    assert [status(other, each) for each in (secret, newer)] == [401, 401]

    revoked = other.session.delete(f"{other.url}/v1/keys/{key['id']}", headers=admin)
    assert revoked.status_code == 204
    assert status(other, newest_secret) == 401
    wait_until(lambda: status(api, newest_secret) == 401, timeout_s=AGREED_S)
    shown = api.get(f"/v1/keys/{key['id']}", headers=admin).json()
    assert (shown["status"], shown["revoked_by"]) == ("revoked", "first")
    assert secret not in json.dumps(shown) and "sha256" not in json.dumps(shown)


def test_changes_at_two_apis_at_once_are_all_kept(
    served: tuple[RunningApi, Topics], other: RunningApi, admin: dict[str, str]
) -> None:
    """Else an API that had not read the other's change would undo it."""
    api, _ = served
    key = api.post("/v1/keys", json={"name": "shop"}, headers=admin).json()
    wait_until(lambda: status(other, key["secret"]) == 200)
    path = f"/v1/keys/{key['id']}"

    def patch(running: RunningApi, changes: dict[str, Any]) -> None:
        answer = requests.patch(running.url + path, json=changes, headers=admin, timeout=20)
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(2) as pool:
        for number in range(1, 11):
            named = pool.submit(patch, api, {"name": f"shop {number}"})
            weighed = pool.submit(patch, other, {"weight": number, "expires_at": None})
            named.result(), weighed.result()
            for running in (api, other):
                wait_until(
                    lambda running=running: running.get(path, headers=admin).json(),
                    lambda got, n=number: (got["name"], got["weight"]) == (f"shop {n}", n),
                )


def test_a_key_that_is_revoked_while_it_is_changed_stays_revoked(
    served: tuple[RunningApi, Topics], other: RunningApi, admin: dict[str, str]
) -> None:
    api, _ = served
    with ThreadPoolExecutor(2) as pool:
        for number in range(5):
            key = api.post("/v1/keys", json={"name": "shop"}, headers=admin).json()
            wait_until(lambda secret=key["secret"]: status(other, secret) == 200)
            path = f"/v1/keys/{key['id']}"
            body = {"weight": number + 1}
            changed = pool.submit(
                requests.patch, api.url + path, json=body, headers=admin, timeout=20
            )
            revoked = pool.submit(requests.delete, other.url + path, headers=admin, timeout=20)
            assert changed.result().status_code in (200, 409)
            assert revoked.result().status_code == 204
            wait_until(lambda secret=key["secret"]: status(api, secret) == 401)
            assert status(other, key["secret"]) == 401


def test_a_restarted_api_has_the_keys_at_its_first_request(
    served: tuple[RunningApi, Topics], admin: dict[str, str], tmp_path: Path
) -> None:
    settings = served[0].settings.model_copy(update={"projection_path": tmp_path / "again.db"})
    again = RunningApi(settings).start(ready=False)
    try:
        assert again.get("/v1/jobs").status_code == 401
        assert again.get("/v1/keys", headers=admin).status_code == 200
    finally:
        again.stop()


def test_the_last_use_is_shown_and_written_once_for_many_requests(
    served: tuple[RunningApi, Topics], other: RunningApi, admin: dict[str, str]
) -> None:
    api, kafka = served
    key = api.post("/v1/keys", json={"name": "shop"}, headers=admin).json()
    assert key["last_used_at"] is None
    for _ in range(20):
        assert status(api, key["secret"]) == 200
    path = f"/v1/keys/{key['id']}"
    used = wait_until(lambda: other.get(path, headers=admin).json()["last_used_at"])
    assert status(other, key["secret"]) == 200

    written = [KeyUsed.model_validate_json(m.value()) for m in kafka.messages("access.used")]
    assert [each.at for each in written if each.key_id == key["id"]] == [used]


def test_the_command_line_works_without_an_api(
    served: tuple[RunningApi, Topics], keys: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    made = keys(
        "create", "--name", "shop", "--owner", "acme", "--scope", "jobs:read", "--expires", "90d",
        "--max-priority", "normal", "--weight", "3", "--requests-per-s", "2.5",
        "--images-per-day", "100", "--megapixels-per-day", "50", "--no-webhooks", "--no-urls",
    )  # fmt: skip
    listed = keys("list")["keys"]
    assert listed == [{name: made[name] for name in made if name != "secret"}]
    assert made["scopes"] == ["jobs:read"]
    assert (made["owner"], made["max_priority"], made["weight"]) == ("acme", "normal", 3)
    assert (made["requests_per_s"], made["images_per_day"]) == (2.5, 100)
    assert [made[name] for name in ("webhooks_allowed", "urls_allowed", "own_only")] == [
        False,
        False,
        True,
    ]

    rotated = keys("rotate", made["id"], "--overlap", "0s")
    assert rotated["secret"] != made["secret"] and len(rotated["secrets"]) == 1
    assert main(["keys", "list"]) == 0
    printed = capsys.readouterr().out
    assert made["id"] in printed and rotated["secret"][-4:] in printed
    assert rotated["secret"] not in printed
    assert keys("revoke", made["id"])["status"] == "revoked"
    assert keys("revoke", made["id"])["status"] == "revoked"


def test_changes_on_the_command_line_leave_audit_records(
    served: tuple[RunningApi, Topics], keys: Run
) -> None:
    made = keys("create", "--name", "shop")
    keys("list")
    keys("rotate", made["id"])
    keys("revoke", made["id"])

    written = [AuditRecord.model_validate_json(m.value()) for m in served[1].messages("audit")]
    assert [(each.action, each.target) for each in written if each.kind == "command"] == [
        (f"keys {action}", made["id"]) for action in ("create", "rotate", "revoke")
    ]
    assert made["secret"] not in "".join(each.model_dump_json() for each in written)


def test_a_deployment_that_the_network_reaches_gets_its_first_key_once(
    served: tuple[RunningApi, Topics], capsys: pytest.CaptureFixture[str]
) -> None:
    """As `imagemill prepare` does in docker compose."""
    api, _ = served
    assert ensure_key(api.settings) is None
    opened = api.settings.model_copy(update={"host": "0.0.0.0", "open_without_keys": True})
    assert ensure_key(opened) is None
    assert capsys.readouterr().out == ""

    reached = api.settings.model_copy(update={"host": "0.0.0.0"})
    secret = ensure_key(reached)
    assert secret is not None and capsys.readouterr().out.count(secret) == 1
    wait_until(lambda: api.get("/v1/keys", headers=bearer(secret)).status_code == 200)
    assert ensure_key(reached) is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["create", "--name", ""], "name: "),
        (["create", "--name", "a", "--weight", "1000"], "weight: "),
        (["create", "--name", "a", "--owner", "a b"], "owner: "),
        (["create", "--name", "a", "--expires", "2001-01-01T00:00:00Z"], "must be in the future"),
        (["create", "--name", "a", "--expires", "tomorrow"], "expires_at: "),
        (["revoke", "nobody"], "There is no key nobody."),
        (["rotate", "nobody"], "There is no key nobody."),
    ],
)
def test_bad_input_is_one_sentence_and_exit_status_2(
    served: tuple[RunningApi, Topics],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    assert main(["keys", *words]) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a", "weight": 0}, "weight"),
        ({"name": "a", "weight": "1"}, "weight"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["everything"]}, "scopes"),
        ({"name": "a", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "a", "secrets": []}, "secrets"),
    ],
)
def test_a_key_that_cannot_be_is_a_422_that_names_the_field(
    served: tuple[RunningApi, Topics], admin: dict[str, str], body: dict, field: str
) -> None:
    answer = served[0].post("/v1/keys", json=body, headers=admin)

    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_only_an_admin_manages_keys(
    served: tuple[RunningApi, Topics], keys: Run, admin: dict[str, str]
) -> None:
    api, _ = served
    mere = api.post("/v1/keys", json={"name": "shop"}, headers=admin).json()
    refused = api.get("/v1/keys", headers=bearer(mere["secret"]))

    assert (refused.status_code, refused.json()["scopes"]) == (403, ["admin"])
    assert api.get("/v1/keys/nobody", headers=admin).status_code == 404
    patched = api.session.patch(f"{api.url}/v1/keys/nobody", json={"weight": 2}, headers=admin)
    assert patched.status_code == 404


def test_the_first_key_is_not_made_over_http(served: tuple[RunningApi, Topics]) -> None:
    """Whoever makes the first key locks everybody else out."""
    answer = served[0].post("/v1/keys", json={"name": "mine now"})

    assert (answer.status_code, answer.json()["code"]) == (403, "keys_need_admin")


def test_an_api_that_the_network_reaches_starts_once_there_is_a_key(
    served: tuple[RunningApi, Topics], keys: Run, tmp_path: Path
) -> None:
    update = {"host": "0.0.0.0", "projection_path": tmp_path / "reached.db"}
    settings = served[0].settings.model_copy(update=update)
    with pytest.raises(NoKeys, match="imagemill keys create"):
        asyncio.run(Runner(create_app(settings)).setup())

    secret = keys("create", "--name", "first", "--admin")["secret"]
    reached = RunningApi(settings).start()
    try:
        local = reached.url.replace("0.0.0.0", "127.0.0.1")
        assert requests.get(f"{local}/v1/keys", timeout=20).status_code == 401
        answer = requests.get(f"{local}/v1/keys", headers=bearer(secret), timeout=20)
        assert answer.status_code == 200
    finally:
        reached.stop()


def test_no_key_is_ever_in_a_log(
    served: tuple[RunningApi, Topics], admin: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    api, kafka = served
    caplog.set_level(logging.DEBUG)
    made = api.post("/v1/keys", json={"name": "shop"}, headers=admin).json()
    secret = made["secret"]
    cut = secret[:-1]
    for sent in (secret, cut, f"{cut}~"):
        api.get(f"/v1/jobs?key={sent}")
        api.get(f"/v1/nothing?key={sent}")
        api.get(f"/v1/jobs?limit=none&key={sent}")
        api.get("/v1/jobs", headers={"X-API-Key": sent})
        api.post("/v1/jobs", data={"operation": "none"}, headers=bearer(sent))
    api.post(f"/v1/keys/{made['id']}/rotate", headers=admin)
    kafka.publish(topics.ACCESS_KEYS.name, made["id"], b"not json", None)
    wait_until(lambda: status(api, secret) == 401)

    # All but that of the test's own client, which runs in this process, too.
    logged = "\n".join(
        f"{record.getMessage()} {record.exc_text}"
        for record in caplog.records
        if not record.name.startswith("urllib3")
    )
    assert made["id"] in logged
    # The id is part of the secret; what follows it is not to be seen.
    assert secret[len("im_") + len(made["id"]) :][:12] not in logged
    assert admin["Authorization"].removeprefix("Bearer ") not in logged
