"""Counts and lists of a thousand mixed jobs equal the jobs that were sent."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import pytest
import requests

from tests.acceptance.conftest import StartSystem
from tests.acceptance.support.system import System
from tests.acceptance.support.tokens import Tokens
from tests.support.pictures import picture
from tests.support.waiting import wait_until

PRIORITIES = ("high", "normal", "low")
# Jobs of each kind; with the one that holds the worker they are a thousand.
NOOPS, CANCELLED, BLOCKED, PICTURES = 750, 120, 60, 69
TOTAL = 1 + NOOPS + CANCELLED + BLOCKED + PICTURES
BLOCKED_INPUT = [{"url": "http://10.0.0.1/photo.png"}]
GRAY = {"operation": "transform", "params": '{"steps": [{"do": "grayscale"}]}'}


@dataclass
class Sent:
    """The jobs sent: ids by the end that each must have, and the counts expected in statistics."""

    ids: dict[str, set[str]] = field(default_factory=dict)
    by_priority: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_operation: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, job: dict[str, Any], end: str) -> None:
        """Add a job with the end it must have."""
        self.ids.setdefault(end, set()).add(job["id"])
        self.by_priority[job["priority"], end] += 1
        self.by_operation[job["operation"], end] += 1

    @property
    def all(self) -> set[str]:
        """The ids of all jobs."""
        return set().union(*self.ids.values())


@dataclass
class Crowd:
    """The system, the jobs sent to it, and its statistics while its worker was held."""

    system: System
    sent: Sent
    held: dict[str, Any]
    workers: list[dict[str, Any]]
    pages: list[list[str]]
    late: set[str]


@pytest.fixture(scope="module")
def crowd(start_nimble: StartSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """A system with a thousand jobs, all of which have ended."""
    tokens = Tokens(tmp_path_factory.mktemp("statistics") / "tokens")
    with start_nimble() as system, requests.Session() as session:
        sent = Sent()
        sent.add(_hold_the_worker(system, tokens), "succeeded")
        _send(system, session, sent)
        held = system.get("/v1/stats").json()
        workers = wait_until(
            lambda: system.get("/v1/workers").json()["workers"],
            lambda listed: [worker["busy"] for worker in listed] == [1],
        )
        pages, late = _page_through(system, session, tokens)
        wait_until(
            lambda: system.get("/v1/stats").json()["jobs"]["by_status"],
            lambda by_status: not by_status["queued"] and not by_status["running"],
            timeout_s=90,
        )
        yield Crowd(system, sent, held, workers, pages, late)


def _hold_the_worker(system: System, tokens: Tokens) -> dict[str, Any]:
    """Start a job that runs until the tokens are opened, so that all others wait."""
    answer = system.post(
        "/v1/jobs",
        files={"image": ("one.png", picture("png"), "image/png")},
        data={"operation": "hold", "params": f'{{"folder": "{tokens.folder}"}}'},
    )
    job = answer.json()
    wait_until(lambda: system.job(job["id"])["status"], lambda status: status == "running")
    return job


def _send(system: System, session: requests.Session, sent: Sent) -> None:
    """Send jobs of all kinds, mixed, and cancel some while they are queued."""
    kinds = (
        ["noop"] * NOOPS + ["cancel"] * CANCELLED + ["blocked"] * BLOCKED + ["picture"] * PICTURES
    )
    rng = random.Random(1000)
    rng.shuffle(kinds)
    url = f"{system.url}/v1/jobs"
    cancelling = []
    with ThreadPoolExecutor(4) as pool:
        for kind in kinds:
            priority = rng.choice(PRIORITIES)
            job = _queued(session, url, kind, priority)
            if kind == "cancel":
                path = f"{url}/{job['id']}/cancel"
                cancelling.append(pool.submit(partial(requests.post, path, timeout=60)))
            ends = {"cancel": "cancelled", "blocked": "failed"}
            sent.add(job, ends.get(kind, "succeeded"))
    for answer in cancelling:
        assert answer.result().status_code == 200, answer.result().text
        assert answer.result().json()["status"] == "cancelled"


def _queued(session: requests.Session, url: str, kind: str, priority: str) -> dict[str, Any]:
    if kind == "picture":
        files = {"image": ("one.png", picture("png", 20, 16), "image/png")}
        answer = session.post(url, files=files, data=GRAY | {"priority": priority}, timeout=60)
    elif kind == "blocked":
        body = {"operation": "detect-objects", "inputs": BLOCKED_INPUT, "priority": priority}
        answer = session.post(url, json=body, timeout=60)
    else:
        answer = session.post(url, json={"operation": "noop", "priority": priority}, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()


def _page_through(
    system: System, session: requests.Session, tokens: Tokens
) -> tuple[list[list[str]], set[str]]:
    """Read all pages of the list while jobs end and new ones come between the pages."""
    pages, late = [], set()
    cursor = ""
    for number in count():
        answer = session.get(f"{system.url}/v1/jobs?limit=70{cursor}", timeout=60).json()
        pages.append([job["id"] for job in answer["jobs"]])
        if answer["next_cursor"] is None:
            return pages, late
        cursor = f"&cursor={answer['next_cursor']}"
        late.add(_queued(session, f"{system.url}/v1/jobs", "noop", "low")["id"])
        if number == 1:
            tokens.open()
    raise AssertionError("the list has no end")


def pages_of(system: System, query: str) -> list[dict[str, Any]]:
    """Read all pages of a list; return their jobs."""
    jobs: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = system.get(f"/v1/jobs?limit=100&{query}{cursor}").json()
        jobs += answer["jobs"]
        if answer["next_cursor"] is None:
            return jobs
        cursor = f"&cursor={answer['next_cursor']}"


def test_the_counts_are_right_while_jobs_wait(crowd: Crowd) -> None:
    by_status = crowd.held["jobs"]["by_status"]
    assert crowd.held["current"] is True
    assert crowd.held["jobs"]["total"] == TOTAL == 1000
    assert by_status == {
        "queued": TOTAL - CANCELLED - 1,
        "running": 1,
        "succeeded": 0,
        "failed": 0,
        "cancelled": CANCELLED,
    }
    assert crowd.held["oldest_queued_age_s"] > 0
    assert sum(crowd.held["lag"].values()) > 500


def test_the_counts_equal_what_was_sent(crowd: Crowd) -> None:
    stats = crowd.system.get("/v1/stats").json()
    jobs = stats["jobs"]
    sent = {end: len(ids) for end, ids in crowd.sent.ids.items()}
    late = len(crowd.late)
    assert sent == {
        "succeeded": 1 + NOOPS + PICTURES, "failed": BLOCKED, "cancelled": CANCELLED,
    }  # fmt: skip
    assert jobs["total"] == TOTAL + late
    nothing_left = {"queued": 0, "running": 0}
    expected = sent | nothing_left
    assert jobs["by_status"] == expected | {"succeeded": sent["succeeded"] + late}
    by_priority = crowd.sent.by_priority + Counter({("low", "succeeded"): late})
    by_operation = crowd.sent.by_operation + Counter({("noop", "succeeded"): late})
    assert _flat(jobs["by_priority"]) == by_priority
    assert _flat(jobs["by_operation"]) == by_operation
    assert stats["oldest_queued_age_s"] is None


def test_nothing_is_left_in_the_queues(crowd: Crowd) -> None:
    lag = wait_until(
        lambda: crowd.system.get("/v1/stats").json()["lag"], lambda lag: not any(lag.values())
    )
    assert set(lag) == set(PRIORITIES)


def test_pages_are_complete_and_stable_while_jobs_come_and_end(crowd: Crowd) -> None:
    listed = [job_id for page in crowd.pages for job_id in page]
    assert [len(page) for page in crowd.pages[:-1]] == [70] * (len(crowd.pages) - 1)
    assert len(listed) == len(set(listed)), "a job is on two pages"
    assert set(listed) == crowd.sent.all
    assert crowd.late, "nothing was added between the pages"


def test_lists_by_status_and_operation_are_complete(crowd: Crowd) -> None:
    for end, expected in crowd.sent.ids.items():
        jobs = pages_of(crowd.system, f"status={end}")
        assert {job["status"] for job in jobs} == {end}
        assert {job["id"] for job in jobs} - crowd.late == expected
        created = [job["created_at"] for job in jobs]
        assert created == sorted(created, reverse=True), "not newest first"
    failed = pages_of(crowd.system, "operation=detect-objects")
    assert {job["id"] for job in failed} == crowd.sent.ids["failed"]
    assert {job["error"]["code"] for job in failed} == {"url_blocked"}
    assert pages_of(crowd.system, "operation=detect-objects&status=succeeded") == []


def test_the_workers_are_described_right(crowd: Crowd) -> None:
    [busy] = crowd.workers
    assert (busy["worker_id"], busy["slots"], busy["busy"]) == ("processor-1", 1, 1)
    assert busy["alive"] is True
    assert busy["waiting"] > 0
    idle = wait_until(
        lambda: crowd.system.get("/v1/workers").json()["workers"],
        lambda workers: [worker["busy"] for worker in workers] == [0],
    )
    assert idle[0]["waiting"] == 0
    summary = crowd.system.get("/v1/stats").json()["workers"]
    assert summary == {"alive": 1, "slots": 1, "busy": 0}


def _flat(table: dict[str, dict[str, int]]) -> Counter[tuple[str, str]]:
    """Count by two labels; leave out counts of 0."""
    return Counter(
        {
            (name, status): jobs
            for name, counts in table.items()
            for status, jobs in counts.items()
            if jobs
        }
    )
