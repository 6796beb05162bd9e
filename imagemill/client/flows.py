"""The calls of the client as generators, which both clients run: they yield steps of I/O.

A flow yields a `Request` and is sent its `Reply` (or `ConnectionFailed` is thrown into it), a
`ReadImage` and is sent the `Picture`, or a `Pause`. So the order of requests, retries and waits is
written once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from json import dumps
from typing import Any, TypeVar
from urllib.parse import quote

from imagemill.client.documents import Item, Job, Result
from imagemill.client.errors import ConnectionFailed, WaitTimeout, job_error
from imagemill.client.images import UPLOAD_ABOVE_BYTES, Image, Picture, is_url
from imagemill.client.wire import FormPart, Reply, Request, RetryPolicy, problem

T = TypeVar("T")
# Seconds that the API is asked to hold a request until the job ends; it takes 60 at most.
_POLL_S = 30.0
# Seconds beyond the wait that was asked for, until the answer to it must have come.
_ANSWER_S = 15.0


@dataclass(frozen=True)
class Pause:
    """A wait of so many seconds."""

    seconds: float


@dataclass(frozen=True)
class ReadImage:
    """An image to read, as a `Picture`."""

    image: Image


Step = Request | Pause | ReadImage
Flow = Generator[Step, Any, T]


@dataclass(frozen=True)
class Submission:
    """A job to be: images, what to do with them, and how.

    Attributes:
        operation: name of an operation; None where `template` or `operations` says it.
        params: params of the operation; those left out are defaults.
        operations: steps `{"operation": …, "params": …}` run one after the other on each image.
        priority: high, normal or low.
        webhook_url: URL that gets a POST at the job's end.
        metadata: JSON of the caller's own, kept and given back.
        template: name of a template to take operations from.
        expires_in: seconds after which the ended job and its files may be deleted.
        idempotency_key: the same key and the same request make the same job; made here if None,
            so that a retry after a lost answer makes no second job.
    """

    images: tuple[Image, ...]
    operation: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    operations: tuple[Mapping[str, Any], ...] = ()
    priority: str | None = None
    webhook_url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    expires_in: int | None = None
    idempotency_key: str | None = None

    @classmethod
    def of(cls, images: Image | Iterable[Image], **fields: Any) -> Submission:
        """Make a submission of one image or of several.

        Raises:
            TypeError: a field is unknown.
        """
        one = isinstance(images, str | bytes | bytearray) or not isinstance(images, Iterable)
        # An open file is iterable, by lines.
        given = (images,) if one or hasattr(images, "read") else tuple(images)  # type: ignore[arg-type]
        given_fields = {name: value for name, value in fields.items() if value is not None}
        if "operations" in given_fields:
            given_fields["operations"] = tuple(given_fields["operations"])
        return cls(given, **given_fields)  # type: ignore[arg-type]


def send(request: Request, policy: RetryPolicy) -> Flow[Reply]:
    """Send a request, again where that may help.

    Raises:
        ApiError: the answer is an error, also after the retries.
        ConnectionFailed: no answer came, also after the retries.
    """
    attempt = 0
    while True:
        attempt += 1
        reply, failed = None, None
        try:
            reply = yield request
        except ConnectionFailed as error:
            failed = error
        if reply is not None and reply.status < 400:
            return reply
        delay_s = policy.delay_s(attempt, reply)
        if delay_s is None:
            raise failed or problem(reply)  # type: ignore[arg-type]
        yield Pause(delay_s)


def submit(asked: Submission, policy: RetryPolicy, wait_s: float = 0.0) -> Flow[Job]:
    """Submit a job; with `wait_s`, answer as soon as it ends, or after that many seconds."""
    key = asked.idempotency_key or f"client-{uuid.uuid4()}"
    headers = {"Idempotency-Key": key}
    if wait_s > 0:
        headers["Prefer"] = f"wait={wait_s:.0f}"
    timeout_s = None if wait_s <= 0 else wait_s + _ANSWER_S
    pictures: list[Picture | None] = []
    for image in asked.images:
        pictures.append(None if is_url(image) else (yield ReadImage(image)))
    if _beside(pictures):
        inputs = yield from _uploaded(asked, pictures, policy)
        body = _body(asked) | {"inputs": inputs}
        request = Request("POST", "/v1/jobs", headers=headers, json=body, timeout_s=timeout_s)
    else:
        form = _form(asked, pictures)
        request = Request("POST", "/v1/jobs", headers=headers, form=form, timeout_s=timeout_s)
    reply = yield from send(request, policy)
    return Job.model_validate(reply.json())


def _beside(pictures: list[Picture | None]) -> bool:
    """Return True if the images should not be sent in the request for the job itself."""
    files = [picture for picture in pictures if picture is not None]
    # A form has its files before its URLs, so the order of a mixture would be lost.
    mixed = 0 < len(files) < len(pictures)
    return mixed or any(len(each.content) > UPLOAD_ABOVE_BYTES for each in files)


def _uploaded(
    asked: Submission, pictures: list[Picture | None], policy: RetryPolicy
) -> Flow[list[dict[str, Any]]]:
    inputs: list[dict[str, Any]] = []
    for image, picture in zip(asked.images, pictures, strict=True):
        if picture is None:
            inputs.append({"url": image})
        else:
            upload_id = yield from upload(picture, policy)
            inputs.append({"upload_id": upload_id, "filename": picture.name})
    return inputs


def upload(picture: Picture, policy: RetryPolicy) -> Flow[str]:
    """Send an image past the API, straight to the store where there is one; return its id."""
    asked = Request(
        "POST",
        "/v1/uploads",
        json={"content_type": picture.content_type, "bytes": len(picture.content)},
    )
    target = (yield from send(asked, policy)).json()
    yield from send(
        Request(
            target["method"], target["url"], headers=target["headers"], content=picture.content
        ),
        policy,
    )
    return target["upload_id"]


def cancel(job_id: str, policy: RetryPolicy) -> Flow[Job]:
    """Cancel a job; return it.

    Raises:
        Conflict: it had ended already.
    """
    reply = yield from send(Request("POST", f"/v1/jobs/{quoted(job_id)}/cancel"), policy)
    return Job.model_validate(reply.json())


def page(query: Mapping[str, Any], policy: RetryPolicy) -> Flow[tuple[list[Job], str | None]]:
    """Read a page of jobs, newest first, and the cursor of the next one, None after the last."""
    reply = yield from send(Request("GET", "/v1/jobs", query=query), policy)
    document = reply.json()
    return [Job.model_validate(each) for each in document["jobs"]], document["next_cursor"]


def any_request(
    method: str, path: str, json: Any, query: Mapping[str, Any], wait_s: int | None
) -> Request:
    """Make the request of a route that has no method of its own here."""
    given = {name: value for name, value in query.items() if value is not None}
    request = Request(method, path, query=given, json=json)
    if wait_s is None:
        return request
    headers = {"Prefer": f"wait={wait_s}"}
    return replace(request, headers=headers, timeout_s=wait_s + _ANSWER_S)


def document(request: Request, policy: RetryPolicy) -> Flow[Any]:
    """Send a request; return the JSON of the answer, None for an empty one."""
    if request.method in ("POST", "PATCH"):
        # Its answer may be lost after the thing was done.
        policy = replace(policy, retries=0)
    reply = yield from send(request, policy)
    return reply.json() if reply.content else None


def quoted(segment: str) -> str:
    """Return a text as one segment of a path."""
    return quote(segment, safe="")


def read(path: str, policy: RetryPolicy) -> Flow[dict[str, Any]]:
    """Read the JSON document at a path."""
    return (yield from send(Request("GET", path), policy)).json()


def wait(job: Job, policy: RetryPolicy, timeout_s: float) -> Flow[Job]:
    """Return the job when it has ended.

    Raises:
        WaitTimeout: it has not, after `timeout_s` seconds.
    """
    until = time.monotonic() + timeout_s
    while not job.ended:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(job, timeout_s)
        ask_s = min(_POLL_S, left_s)
        job = yield from get(job.id, policy, ask_s)
    return job


def get(job_id: str, policy: RetryPolicy, wait_s: float = 0.0) -> Flow[Job]:
    """Read a job; with `wait_s`, once it has ended or that many seconds are over."""
    request = Request("GET", f"/v1/jobs/{quoted(job_id)}")
    if wait_s > 0:
        request = replace(request, query={"wait": f"{wait_s:.3f}"}, timeout_s=wait_s + _ANSWER_S)
    reply = yield from send(request, policy)
    return Job.model_validate(reply.json())


def run(asked: Submission, policy: RetryPolicy, timeout_s: float) -> Flow[Result]:
    """Submit a job of one image, wait for its end, and fetch the result.

    Raises:
        JobFailed: it ended without a result.
        WaitTimeout: it has not ended after `timeout_s` seconds; it goes on.
    """
    until = time.monotonic() + timeout_s
    job = yield from submit(asked, policy, wait_s=min(_POLL_S, timeout_s))
    job = yield from wait(job, policy, max(0.0, until - time.monotonic()))
    return (yield from result(job, 0, policy))


def result(job: Job, index: int, policy: RetryPolicy) -> Flow[Result]:
    """Fetch the result of one item of an ended job.

    Raises:
        JobFailed: the item has none.
        IndexError: the job has no such item.
    """
    item: Item = job.items[index]
    if item.result is None:
        raise job_error(job, index)
    data, content, content_type = item.result.get("data"), None, None
    if item.result.get("key"):
        reply = yield from send(Request("GET", item.links["result"]), policy)
        content, content_type = reply.content, reply.headers.get("content-type")
    elif item.result.get("data_omitted"):
        # Left out of the event, since it is too large for a message.
        reply = yield from send(Request("GET", item.links["result"]), policy)
        data = reply.json()
    return Result(job, item, content, content_type, data)


def _body(asked: Submission) -> dict[str, Any]:
    body: dict[str, Any] = {
        "operation": asked.operation,
        "params": dict(asked.params),
        "operations": [dict(step) for step in asked.operations],
        "priority": asked.priority,
        "metadata": dict(asked.metadata),
        "template": asked.template,
        "expires_in": asked.expires_in,
    }
    if asked.webhook_url is not None:
        body["webhook"] = {"url": asked.webhook_url}
    return {name: value for name, value in body.items() if value not in (None, {}, [])}


def _form(asked: Submission, pictures: list[Picture | None]) -> tuple[FormPart, ...]:
    parts: list[FormPart] = []
    for name, value in _body(asked).items():
        if name == "webhook":
            parts.append(("webhook_url", value["url"]))
        elif isinstance(value, dict | list):
            parts.append((name, dumps(value)))
        else:
            parts.append((name, str(value)))
    for image, picture in zip(asked.images, pictures, strict=True):
        if picture is None:
            parts.append(("image_url", str(image)))
        else:
            parts.append(("image", (picture.name, picture.content, picture.content_type)))
    return tuple(parts)
