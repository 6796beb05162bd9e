"""Items that crash, hang or wait without an answer: retried, and failed after the last attempt."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import StartSystem
from tests.acceptance.support.system import System
from tests.support.pictures import picture

pytestmark = pytest.mark.longest

ALWAYS = 1000


@pytest.fixture(scope="module")
def hasty(start_nimble: StartSystem) -> Iterator[System]:
    """A system with a timeout of 2 s an item and 0.5 s a URL."""
    with start_nimble(
        IMAGEMILL_ITEM_TIMEOUT_S="2", IMAGEMILL_URL_TIMEOUT_S="0.5", WORKER_COUNT="2"
    ) as running:
        yield running


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A folder in which the operation `stumble` counts its attempts."""
    folder = tmp_path / "attempts"
    folder.mkdir()
    return folder


def stumbling(system: System, folder: Path, how: str, times: int) -> dict[str, Any]:
    """Run a job whose first `times` attempts fail in that way; return it when it has ended."""
    params = {"folder": str(folder), "how": how, "times": times}
    return system.finished(system.submitted(operation="stumble", params=params))


@pytest.mark.parametrize("how", ["killed", "hang"])
def test_an_attempt_that_dies_is_followed_by_another(
    hasty: System, counted: Path, how: str
) -> None:
    job = stumbling(hasty, counted, how, 1)
    assert (job["status"], job["error"], job["attempts"]) == ("succeeded", None, 2)
    [item] = job["items"]
    assert (item["attempts"], item["error"]) == (2, None)
    assert item["result"]["data"] == {"attempt": 2}
    assert len(list(counted.iterdir())) == 2


@pytest.mark.parametrize(("how", "code"), [("killed", "worker_crashed"), ("hang", "timeout")])
def test_an_item_that_dies_at_every_attempt_fails(
    hasty: System, counted: Path, how: str, code: str
) -> None:
    job = stumbling(hasty, counted, how, ALWAYS)
    assert (job["status"], job["attempts"]) == ("failed", 3)
    assert (job["error"]["code"], job["error"]["class"]) == (code, "infrastructure")
    [item] = job["items"]
    assert (item["attempts"], item["error"]) == (3, job["error"])
    assert len(list(counted.iterdir())) == 3


def test_other_jobs_are_served_meanwhile(hasty: System, counted: Path) -> None:
    params = {"folder": str(counted), "how": "hang", "times": ALWAYS}
    hanging = hasty.submitted(operation="stumble", params=params)
    for _ in range(5):
        answer = hasty.post(
            "/v1/jobs",
            files={"image": ("one.png", picture("png"), "image/png")},
            data={"operation": "transform", "params": '{"steps": [{"do": "grayscale"}]}'},
            headers={"Prefer": "wait=30"},
        )
        assert answer.json()["status"] == "succeeded", answer.text
    assert hasty.job(hanging)["status"] in ("queued", "running")
    assert hasty.finished(hanging)["error"]["code"] == "timeout"


def test_a_url_that_never_answers_fails(hasty: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/photo.png"
        params = {"steps": [{"do": "grayscale"}]}
        job_id = hasty.submitted(operation="transform", params=params, inputs=[{"url": url}])
        job = hasty.finished(job_id)
    assert (job["status"], job["attempts"]) == ("failed", 3)
    assert job["error"]["code"] == "url_unreachable"
    assert "in time" in job["error"]["message"]
