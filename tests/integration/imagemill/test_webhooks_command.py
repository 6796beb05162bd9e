"""`imagemill webhooks` against a running API."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from imagemill.cli import main
from schemas import cloudevents, topics
from schemas.times import now
from tests.support.api import RunningApi, Topics
from tests.support.messages import attempted, given_up
from tests.support.waiting import wait_until

URL = "https://example.com/hook"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(api: RunningApi, tmp_path, monkeypatch, capsys) -> Run:
    """Run the command on the API; return its exit status, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEMILL_URL", api.url)

    def run(*words: str) -> tuple[int, str, str]:
        try:
            status = main(["webhooks", *words])
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def made(run: Run, *words: str) -> dict[str, Any]:
    """Create an endpoint; return its document."""
    status, printed, errors = run("endpoints", "create", URL, "--json", *words)
    assert status == 0, errors
    return json.loads(printed)


def shown(run: Run, endpoint_id: str) -> dict[str, Any]:
    return json.loads(run("endpoints", "show", endpoint_id, "--json")[1])


def test_an_endpoint_s_life(run: Run) -> None:
    endpoint = made(run, "--event", "job.failed", "--header", "X-Shop=eins", "--description", "Hi")
    assert (endpoint["events"], endpoint["headers"]) == (["job.failed"], ["X-Shop"])
    status, printed, _ = run("endpoints", "list")
    (line,) = (line for line in printed.splitlines() if endpoint["id"] in line)
    assert status == 0 and line.split() == [endpoint["id"], "enabled", "job.failed", URL, "Hi"]

    words = ("--to", f"{URL}/2", "--disable", "--header", "x-shop=", "--body", "thin")
    assert run("endpoints", "update", endpoint["id"], *words)[0] == 0
    changed = shown(run, endpoint["id"])
    assert (changed["url"], changed["disabled"], changed["headers"]) == (f"{URL}/2", True, [])
    assert (changed["body"], changed["events"]) == ("thin", ["job.failed"])
    assert run("endpoints", "update", endpoint["id"], "--enable")[0] == 0
    assert shown(run, endpoint["id"])["disabled"] is False

    status, printed, _ = run("endpoints", "rotate", endpoint["id"], "--overlap-s", "60", "--json")
    rotated = json.loads(printed)
    assert rotated["secret"] != endpoint["secret"] and len(rotated["previous_expire_at"]) == 1
    assert rotated["secret"] in run("endpoints", "secret", endpoint["id"])[1]

    assert run("endpoints", "delete", endpoint["id"]) == (0, f"deleted {endpoint['id']}\n", "")
    assert run("endpoints", "show", endpoint["id"])[0] == 2


def test_deliveries_are_listed_shown_and_replayed(run: Run, api: RunningApi, kafka: Topics) -> None:
    endpoint, delivery = made(run)["id"], f"msg_{uuid.uuid4().hex}"
    attempt = attempted(
        delivery, now(), endpoint_id=endpoint, failure="status", response="two\nlines \x1b[31m"
    )
    for topic, event in (
        (topics.WEBHOOKS_ATTEMPTS, attempt),
        (topics.WEBHOOKS_DEAD_LETTER, given_up(delivery, endpoint_id=endpoint)),
    ):
        value, headers = cloudevents.encode(event)
        kafka.publish(topic.name, delivery, value, headers)
    wait_until(lambda: json.loads(run("deliveries", "show", delivery, "--json")[1] or "{}"))

    status, printed, _ = run("deliveries", "list", "--endpoint", endpoint, "--status", "failed")
    assert status == 0 and printed.splitlines()[1].split()[:3] == [
        delivery,
        "failed",
        "job.finished",
    ]
    assert run("deliveries", "list", "--job", "job-of-nobody")[1].splitlines()[1:] == []
    status, printed, _ = run("deliveries", "show", delivery)
    assert "The receiver answered with status 503." in printed
    assert "two lines  [31m" in printed and "\x1b" not in printed

    status, printed, _ = run("replay", endpoint, "--since", "2026-01-01T00:00:00Z")
    assert (status, printed) == (0, "1 posted once more\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("endpoints", "create", "ftp://x"), "url: The URL must begin with http"),
        (("endpoints", "create", "http://10.0.0.1/"), "url: The URL points to a private network"),
        (("endpoints", "create", URL, "--event", "job.eaten"), "events.0: "),
        (("endpoints", "create", URL, "--secret", "x"), "secret: "),
        (("endpoints", "create", URL, "--header", "Host=x"), "headers: "),
        (("endpoints", "create", URL, "--header", "Host"), "expected NAME=VALUE"),
        (("endpoints", "create", URL, "--body", "half"), "invalid choice"),
        (("endpoints", "update", "ep_0", "--enable", "--disable"), "not allowed with"),
        (("endpoints", "show", "../jobs"), "There is no"),
        (("endpoints", "delete", "ep_00000000"), "There is no webhook endpoint ep_00000000"),
        (("endpoints", "rotate", "ep_00000000", "--overlap-s", "-1"), "overlap_s: "),
        (("endpoints", "rotate", "ep_00000000", "--overlap-s", "x"), "invalid int value"),
        (("endpoints", "test", "ep_00000000", "--event", "x"), "event: "),
        (("deliveries", "show", "msg_0"), "There is no webhook delivery msg_0"),
        (("deliveries", "replay", "msg_0"), "There is no webhook delivery msg_0"),
        (("deliveries", "list", "--limit", "0"), "limit: expected a whole number from 1 to 100"),
        (("deliveries", "list", "--cursor", "x"), "cursor: "),
        (("deliveries", "list", "--status", "lost"), "invalid choice"),
        (("replay", "ep_00000000"), "--since"),
        (("replay", "ep_00000000", "--since", "now"), "since: expected a time such as"),
        (("endpoints", "list", "--url", "example.com"), "must begin with http"),
        (("endpoints", "list", "--key", "a b"), "set IMAGEMILL_API_KEY"),
        (("endpoints", "explode"), "invalid choice"),
        (("endpoints",), "action"),
        ((), "group"),
    ],
    ids=" ".join,
)
def test_bad_input_is_refused_with_a_sentence(run: Run, words, sentence: str) -> None:
    status, printed, errors = run(*words)
    assert (status, printed) == (2, "")
    assert sentence in errors


def test_an_address_where_no_api_is(run: Run, free_port: Callable[[], int]) -> None:
    where = f"http://127.0.0.1:{free_port()}"
    status, _, errors = run("endpoints", "list", "--url", where)
    assert status == 1
    assert errors.startswith(f"imagemill: Nothing answers at {where}") and "IMAGEMILL_URL" in errors
