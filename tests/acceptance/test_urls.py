"""Images by URL: fetched through the guard by inference processes; retried where it may help."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from tests.acceptance.support.system import System
from tests.acceptance.support.web import Answer, WebServer
from tests.support.pictures import picture

PNG = picture("png", 50, 40)
GRAY = {"operation": "transform", "params": {"steps": [{"do": "grayscale"}]}}
# An address of this machine that the system's settings do not allow.
BLOCKED_HOST = "127.0.0.2"


def fetched(system: System, url: str) -> dict[str, Any]:
    """Run a job on a URL; return it when it has ended."""
    return system.finished(system.submitted(inputs=[{"url": url}], **GRAY))


def assert_failed(job: dict[str, Any], code: str, attempts: int) -> str:
    """Assert error code and number of attempts of a failed job; return the error's message."""
    assert job["status"] == "failed"
    assert (job["error"]["code"], job["error"]["class"]) == (code, "input")
    [item] = job["items"]
    assert item["error"] == job["error"]
    assert (item["attempts"], job["attempts"]) == (attempts, attempts)
    return job["error"]["message"]


def test_an_image_is_fetched_from_an_allowed_url(nimble: System, web: WebServer) -> None:
    job = fetched(nimble, web.serve("/photo.png", Answer(body=PNG)))
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    assert web.requests["/photo.png"] == 1
    result = Image.open(io.BytesIO(nimble.get(job["items"][0]["links"]["result"]).content))
    assert (result.mode, result.size) == ("L", (50, 40))


def test_redirects_are_followed(nimble: System, web: WebServer) -> None:
    web.serve("/there.png", Answer(body=PNG))
    url = web.serve("/here.png", Answer(status=302, location="/there.png"))
    assert fetched(nimble, url)["status"] == "succeeded"


def test_files_and_urls_of_one_form_keep_their_order(nimble: System, web: WebServer) -> None:
    url = web.serve("/second.png", Answer(body=picture("png", 60, 20)))
    answer = nimble.post(
        "/v1/jobs",
        files=[
            ("image", ("first.png", PNG, "image/png")),
            ("image_url", (None, url)),
            ("image", ("third.png", picture("png", 70, 20), "image/png")),
            ("operation", (None, GRAY["operation"])),
            ("params", (None, json.dumps(GRAY["params"]))),
        ],
    )
    assert answer.status_code == 202, answer.text
    job = nimble.finished(answer.json()["id"])
    assert job["progress"] == {"total": 3, "processed": 3, "failed": 0}
    assert [item["filename"] for item in job["items"]] == ["first.png", None, "third.png"]
    assert [item["result"]["width"] for item in job["items"]] == [50, 60, 70]


def test_private_addresses_are_blocked_and_not_named(nimble: System, web: WebServer) -> None:
    url = web.serve("/secret.png", Answer(body=PNG), host=BLOCKED_HOST)
    message = assert_failed(fetched(nimble, url), "url_blocked", attempts=1)
    assert "127." not in message and str(web.port) not in message
    assert not web.requests["/secret.png"], "the address was connected to"
    for elsewhere in (
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        f"http://[::1]:{web.port}/secret.png",
        f"http://[::ffff:127.0.0.2]:{web.port}/secret.png",
    ):
        said = assert_failed(fetched(nimble, elsewhere), "url_blocked", attempts=1)
        assert said == message, "the message distinguishes addresses"
    assert not web.requests["/secret.png"]


def test_a_redirect_to_a_private_address_is_blocked(nimble: System, web: WebServer) -> None:
    behind = web.serve("/behind.png", Answer(body=PNG), host=BLOCKED_HOST)
    url = web.serve("/innocent.png", Answer(status=307, location=behind))
    message = assert_failed(fetched(nimble, url), "url_blocked", attempts=1)
    assert "127." not in message
    assert web.requests["/innocent.png"] == 1
    assert not web.requests["/behind.png"]


def test_a_404_is_not_retried(nimble: System, web: WebServer) -> None:
    url = web.serve("/missing.png", Answer(status=404))
    message = assert_failed(fetched(nimble, url), "url_unreachable", attempts=1)
    assert "404" in message
    assert web.requests["/missing.png"] == 1


def test_a_server_that_recovers_is_retried(nimble: System, web: WebServer) -> None:
    url = web.serve("/busy.png", Answer(status=503), Answer(status=503), Answer(body=PNG))
    job = fetched(nimble, url)
    assert (job["status"], job["error"]) == ("succeeded", None)
    [item] = job["items"]
    assert (item["attempts"], item["error"], job["attempts"]) == (3, None, 3)
    assert web.requests["/busy.png"] == 3


def test_a_server_that_does_not_recover_fails_the_job(nimble: System, web: WebServer) -> None:
    url = web.serve("/dead.png", Answer(status=503))
    message = assert_failed(fetched(nimble, url), "url_unreachable", attempts=3)
    assert "503" in message
    assert web.requests["/dead.png"] == 3


def test_a_file_that_is_no_image_fails_its_item_alone(nimble: System, web: WebServer) -> None:
    page = web.serve("/page.png", Answer(body=b"<html>no picture</html>"))
    photo = web.serve("/good.png", Answer(body=PNG))
    inputs = [{"url": page, "filename": "page.png"}, {"url": photo, "filename": "good.png"}]
    job = nimble.finished(nimble.submitted(inputs=inputs, **GRAY))
    assert job["status"] == "succeeded"
    assert job["progress"] == {"total": 2, "processed": 2, "failed": 1}
    assert [item["filename"] for item in job["items"]] == ["page.png", "good.png"]
    assert [item["attempts"] for item in job["items"]] == [1, 1]
    assert job["items"][0]["error"]["code"] == "image_undecodable"
    assert job["items"][1]["error"] is None
