"""Both clients against an HTTP server that answers as it is told, and counts what it is asked."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from imagemill.client import (
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    ConnectionFailed,
    Forbidden,
    InputFailed,
    InvalidRequest,
    Job,
    JobCancelled,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    WaitTimeout,
)
from imagemill.client.images import UPLOAD_ABOVE_BYTES
from tests.support.servers import QuietHandler, http_server

JPEG = b"\xff\xd8\xff\xe0 a photo"


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """Answers in order, the last one for ever: (status, headers, body), and what was asked."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def say(self, status: int, document: Any = None, **headers: str) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers.append((status, names, raw))


@pytest.fixture
def script() -> Iterator[Script]:
    said = Script()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said.asked.append(Asked(self.command, self.path, headers, self.rfile.read(size)))
            last = len(said.answers) == 1
            status, answer_headers, body = said.answers[0] if last else said.answers.pop(0)
            self.send_response(status)
            for name, value in answer_headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _answer

    with http_server(Handler) as server:
        said.url = f"http://127.0.0.1:{server.server_port}"
        yield said


Call = Callable[[Client], Any]


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, script: Script) -> Callable[..., Any]:
    """Make a call on a client of the kind under test; an iterator's items come as a list."""

    def sync(make: Call, **options: Any) -> Any:
        with Client(script.url, **options) as client:
            made = make(client)
            return list(made) if inspect.isgenerator(made) else made

    async def awaited(make: Call, **options: Any) -> Any:
        async with AsyncClient(script.url, **options) as client:
            made = make(client)  # type: ignore[arg-type]
            if inspect.isasyncgen(made):
                return [each async for each in made]
            assert isinstance(made, Awaitable)
            return await made

    if request.param == "sync":
        return sync
    return lambda make, **options: asyncio.run(awaited(make, **options))


def job(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    item = {"index": 0, "status": status, "links": {"result": "/v1/jobs/abcdefgh/items/0/result"}}
    if status == "succeeded":
        item["result"] = {"key": "results/abcdefgh/0.png", "data": {"seen": 1}}
    error = {"code": "image_undecodable", "class": "input", "message": "This is no image."}
    if status == "failed":
        item["error"] = error
    if status == "cancelled":
        item["error"] = error | {"code": "cancelled", "class": "cancelled"}
    document = {
        "id": "abcdefgh",
        "operation": "remove-background",
        "status": status,
        "progress": {"total": 1, "processed": 1, "failed": 0},
        "items": [item],
    }
    return document | fields


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in vars(kind).items()
            if not name.startswith("_")
        }

    assert surface(Client) == surface(AsyncClient)


def test_a_picture_is_sent_awaited_fetched_and_saved(
    call: Callable[..., Any], script: Script, tmp_path: Path
) -> None:
    source = tmp_path / "photo.jpg"
    source.write_bytes(JPEG)
    script.say(202, job("queued"))
    script.say(200, job("running"))
    script.say(200, job())
    script.say(200, b"a png", Content_Type="image/png")
    made = call(lambda client: client.remove_background(source, model="u2netp"))
    submit, *reads, fetch = script.asked
    assert (submit.method, submit.path) == ("POST", "/v1/jobs")
    assert b'name="image"; filename="photo.jpg"' in submit.body and JPEG in submit.body
    assert b'{"model": "u2netp"}' in submit.body
    assert {read.path.partition("?")[0] for read in reads} == {"/v1/jobs/abcdefgh"}
    assert fetch.path == "/v1/jobs/abcdefgh/items/0/result"
    saved = made.save(tmp_path / "cut.png")
    assert saved.read_bytes() == b"a png"
    assert made.data == {"seen": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.png", "photo.jpg"]


def test_a_retry_after_a_lost_answer_sends_the_same_key(
    call: Callable[..., Any], script: Script
) -> None:
    script.say(503, {"code": "broker_unavailable"}, Retry_After="0")
    script.say(202, job("queued"))
    call(lambda client: client.submit(JPEG, "noop"))
    first, second = script.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert JPEG in first.body and JPEG in second.body


def test_two_submits_have_two_keys(call: Callable[..., Any], script: Script) -> None:
    script.say(202, job("queued"))
    for _ in range(2):
        call(lambda client: client.submit(JPEG, "noop"))
    first, second = script.asked
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (500, Unavailable),
    ],
)
def test_an_error_has_its_class_and_is_not_sent_again(
    call: Callable[..., Any], script: Script, status: int, kind: type
) -> None:
    script.say(status, {"code": "some_code", "detail": "Do this.", "errors": [{"field": "x"}]})
    with pytest.raises(kind, match="Do this") as caught:
        call(lambda client: client.submit(JPEG, "noop"))
    assert (caught.value.status, caught.value.code) == (status, "some_code")
    assert caught.value.document["errors"] == [{"field": "x"}]
    assert len(script.asked) == 1


@pytest.mark.parametrize("retry_after", ["0", formatdate(0, usegmt=True)])
def test_a_busy_api_is_asked_again_until_the_tries_are_used_up(
    call: Callable[..., Any], script: Script, retry_after: str
) -> None:
    script.say(429, {"code": "queue_full", "detail": "Later."}, Retry_After=retry_after)
    with pytest.raises(RateLimited):
        call(lambda client: client.get("abcdefgh"), retries=2)
    assert len(script.asked) == 3


def test_an_api_that_asks_for_an_hour_is_not_waited_for(
    call: Callable[..., Any], script: Script
) -> None:
    script.say(429, {"code": "quota_exceeded", "detail": "Tomorrow."}, Retry_After="3600")
    with pytest.raises(RateLimited) as caught:
        call(lambda client: client.get("abcdefgh"))
    assert caught.value.retry_after_s == 3600
    assert len(script.asked) == 1


def test_nothing_at_the_address_says_how_to_start_one(
    call: Callable[..., Any], free_port: Callable[[], int], script: Script
) -> None:
    script.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionFailed, match="imagemill up"):
        call(lambda client: client.get("abcdefgh"), retries=0)


def test_another_server_at_the_address_is_recognised(
    call: Callable[..., Any], script: Script
) -> None:
    script.say(200, b"<html>hello</html>", Content_Type="text/html")
    with pytest.raises(ApiError, match="imagemill API"):
        call(lambda client: client.get("abcdefgh"))


@pytest.mark.parametrize(("status", "kind"), [("failed", InputFailed), ("cancelled", JobCancelled)])
def test_a_job_without_a_result_raises_by_its_reason(
    call: Callable[..., Any], script: Script, status: str, kind: type
) -> None:
    script.say(200, job(status))
    with pytest.raises(kind, match="This is no image") as caught:
        call(lambda client: client.detect(JPEG))
    assert caught.value.job.id == "abcdefgh"


def test_a_wait_ends_in_time_and_has_the_job(call: Callable[..., Any], script: Script) -> None:
    script.say(200, job("running"))
    with pytest.raises(WaitTimeout, match="goes on") as caught:
        call(lambda client: client.wait("abcdefgh", timeout_s=0.05))
    assert caught.value.job.status == "running"


def test_a_wait_for_a_job_that_has_ended_asks_nothing(
    call: Callable[..., Any], script: Script
) -> None:
    ended = Job.model_validate(job())
    assert call(lambda client: client.wait(ended)) == ended
    assert script.asked == []


def test_a_large_image_goes_past_the_api_without_the_key(
    call: Callable[..., Any], script: Script
) -> None:
    large = JPEG + bytes(UPLOAD_ABOVE_BYTES)
    target = {"upload_id": "upload01", "method": "PUT", "headers": {"Content-Type": "image/jpeg"}}
    script.say(201, target | {"url": f"{script.url}/bucket/key?signature=x"})
    script.say(204, b"")
    script.say(202, job("queued"))
    call(lambda client: client.submit(large, "transform", {"width": 9}), key="im_secret")
    ask, upload, submit = script.asked
    assert json.loads(ask.body) == {"content_type": "image/jpeg", "bytes": len(large)}
    assert (upload.method, upload.body == large) == ("PUT", True)
    assert "authorization" not in upload.headers
    assert submit.headers["authorization"] == "Bearer im_secret"
    sent = json.loads(submit.body)
    assert sent["inputs"] == [{"upload_id": "upload01", "filename": "image"}]
    assert (sent["operation"], sent["params"]) == ("transform", {"width": 9})


def test_a_mixture_of_files_and_urls_keeps_its_order(
    call: Callable[..., Any], script: Script
) -> None:
    target = {"upload_id": "upload01", "method": "PUT", "headers": {}}
    script.say(201, target | {"url": f"{script.url}/bucket/key"})
    script.say(204, b"")
    script.say(202, job("queued"))
    call(lambda client: client.submit(["https://example.org/a.jpg", JPEG], "noop"))
    inputs = json.loads(script.asked[-1].body)["inputs"]
    assert [sorted(each) for each in inputs] == [["url"], ["filename", "upload_id"]]


def test_urls_alone_are_one_request(call: Callable[..., Any], script: Script) -> None:
    script.say(202, job("queued"))
    call(lambda client: client.submit("https://example.org/a.jpg", "noop"))
    (asked,) = script.asked
    assert b'name="image_url"' in asked.body and b"https://example.org/a.jpg" in asked.body


@pytest.mark.parametrize("given", ["path", "bytes", "file"])
def test_an_image_is_a_path_bytes_or_an_open_file(
    call: Callable[..., Any], script: Script, tmp_path: Path, given: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(JPEG)
    image = {"path": str(path), "bytes": JPEG, "file": io.BytesIO(JPEG)}[given]
    script.say(202, job("queued"))
    call(lambda client: client.submit(image, "noop"))
    assert JPEG in script.asked[0].body and b"image/jpeg" in script.asked[0].body


def test_an_image_of_no_known_kind_is_refused_before_anything_is_sent(
    call: Callable[..., Any], script: Script
) -> None:
    with pytest.raises(TypeError, match="a path, bytes, an open file or a URL"):
        call(lambda client: client.submit([3], "noop"))
    with pytest.raises(TypeError, match="binary mode"):
        call(lambda client: client.submit(io.StringIO("x"), "noop"))
    assert script.asked == []


def test_events_are_resumed_where_they_were_cut_off(
    call: Callable[..., Any], script: Script
) -> None:
    stream = {"Content_Type": "text/event-stream"}
    script.say(200, b': hi\n\nid: 1\nevent: status\ndata: {"a":\ndata: 1}\n\nid: 2\neve', **stream)
    script.say(200, job("running"))
    script.say(200, b'id: 3\nevent: finished\ndata: {"a": 3}\n\n', **stream)
    found = call(lambda client: client.events("abcdefgh"), retries=1)
    assert [(each.id, each.name, each.data) for each in found] == [
        ("1", "status", {"a": 1}),
        ("3", "finished", {"a": 3}),
    ]
    streams = [each for each in script.asked if each.path.endswith("/events")]
    assert "last-event-id" not in streams[0].headers
    # The id of an event that was cut off is not one that was seen.
    assert streams[1].headers["last-event-id"] == "1"


def test_map_yields_every_outcome_and_tells_how_far_it_is(
    call: Callable[..., Any], script: Script, tmp_path: Path
) -> None:
    script.say(200, job("failed"))
    missing = tmp_path / "missing.jpg"
    seen: list[tuple[int, int]] = []
    outcomes = call(
        lambda client: client.map(
            [JPEG, missing, JPEG],
            "noop",
            concurrency=2,
            on_progress=lambda done, begun: seen.append((done, begun)),
        )
    )
    assert sorted(each.index for each in outcomes) == [0, 1, 2]
    kinds = {each.index: type(each.error) for each in outcomes}
    assert kinds == {0: InputFailed, 1: FileNotFoundError, 2: InputFailed}
    assert [done for done, _ in seen] == [1, 2, 3] and seen[-1] == (3, 3)


def test_map_reads_no_more_images_than_it_has_place_for(script: Script) -> None:
    script.say(200, job("failed"))
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield JPEG

    with Client(script.url) as client:
        outcomes = client.map(endless(), "noop", concurrency=2)
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
    assert taken <= 4


def test_list_follows_the_pages(call: Callable[..., Any], script: Script) -> None:
    script.say(200, {"jobs": [job(id="aaaaaaaa")], "next_cursor": "next"})
    script.say(200, {"jobs": [job(id="bbbbbbbb")], "next_cursor": None})
    found = call(lambda client: client.list(status="succeeded"))
    assert [each.id for each in found] == ["aaaaaaaa", "bbbbbbbb"]
    assert script.asked[1].path == "/v1/jobs?status=succeeded&cursor=next"


def test_url_and_key_come_from_the_environment(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEMILL_URL", script.url + "/")
    monkeypatch.setenv("IMAGEMILL_API_KEY", "im_environment")
    script.say(200, job())
    with Client() as client:
        assert client.get("abcdefgh").succeeded
        assert "im_environment" not in repr(vars(client))
    assert script.asked[0].headers["authorization"] == "Bearer im_environment"


def test_a_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="no URL of an API"):
        Client("localhost:8080")


def test_fields_of_a_newer_api_are_kept(script: Script) -> None:
    script.say(200, job(status="paused", shard=7))
    with Client(script.url) as client:
        found = client.get("abcdefgh")
    assert (found.status, found.ended, found.shard) == ("paused", False, 7)  # type: ignore[attr-defined]


def test_a_result_without_a_picture_cannot_be_saved(script: Script, tmp_path: Path) -> None:
    document = job()
    document["items"][0]["result"] = {"data": {"predictions": []}}
    script.say(200, document)
    with Client(script.url) as client:
        found = client.detect(JPEG)
    assert found.data == {"predictions": []}
    with pytest.raises(ValueError, match=r"read \.data"):
        found.save(tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
