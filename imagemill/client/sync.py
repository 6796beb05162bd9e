"""The client for programs without an event loop."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Self, TypeVar

import httpx

from imagemill.client import flows
from imagemill.client.documents import Job, JobEvent, Result
from imagemill.client.errors import ConnectionFailed, ImagemillError
from imagemill.client.flows import Flow, Pause, ReadImage, Step, Submission
from imagemill.client.images import Image, read_image
from imagemill.client.mapping import Outcome, Progress
from imagemill.client.settings import ClientSettings
from imagemill.client.sse import EventParser
from imagemill.client.transport import (
    check_listening,
    connection_failed,
    http_options,
    reply_of,
    request_options,
)
from imagemill.client.wire import Request, problem

T = TypeVar("T")


class Client:
    """A client of one API; safe to use from several threads. Close it, or use it in `with`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: URL of the API; by default IMAGEMILL_URL, else http://127.0.0.1:8080.
            key: API key or token; by default IMAGEMILL_API_KEY.
            timeout_s: seconds until an answer must have come, beyond waits that were asked for.
            retries: tries after the first, of requests that may succeed then.

        Raises:
            ValueError: `url` is not one of http or https.
        """
        self._settings = ClientSettings.of(url, key, timeout_s, retries)
        self._http = httpx.Client(**http_options(self._settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def remove_background(self, image: Image, *, timeout_s: float = 300.0, **params: Any) -> Result:
        """Cut the subject of an image out; `.save(path)` writes the picture.

        Raises: as `run`.
        """
        return self.run(image, "remove-background", params, timeout_s=timeout_s)

    def detect(self, image: Image, *, timeout_s: float = 300.0, **params: Any) -> Result:
        """Find the objects in an image: `.data["predictions"]`.

        Raises: as `run`.
        """
        return self.run(image, "detect-objects", params, timeout_s=timeout_s)

    def read_text(self, image: Image, *, timeout_s: float = 300.0, **params: Any) -> Result:
        """Read the text in an image: `.data["lines"]`.

        Raises: as `run`.
        """
        return self.run(image, "read-text", params, timeout_s=timeout_s)

    def transform(self, image: Image, *, timeout_s: float = 300.0, **params: Any) -> Result:
        """Resize, crop, turn or convert an image; `.save(path)` writes the picture.

        Raises: as `run`.
        """
        return self.run(image, "transform", params, timeout_s=timeout_s)

    def run(
        self,
        image: Image,
        operation: str | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 300.0,
        **options: Any,
    ) -> Result:
        """Submit one image, wait for its end, and fetch the result.

        Args:
            image: path, bytes, file opened in binary mode, or URL.
            operation: name as `operations` lists it; None where an option says what to do.
            params: params of the operation.
            timeout_s: seconds to wait for the end.
            options: further fields of `Submission`.

        Raises:
            JobFailed: the job ended without a result.
            WaitTimeout: it has not ended in time; it goes on.
            ApiError, ConnectionFailed, OSError: the job was not accepted, or not read.
        """
        asked = Submission.of([image], operation=operation, params=params, **options)
        return self._do(flows.run(asked, self._settings.retry, timeout_s))

    def submit(
        self,
        images: Image | Iterable[Image],
        operation: str | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        wait_s: float = 0.0,
        **options: Any,
    ) -> Job:
        """Submit a job of one image or of several; return it, with `wait_s` once it has ended.

        Raises:
            ApiError, ConnectionFailed, OSError: the job was not accepted.
        """
        asked = Submission.of(images, operation=operation, params=params, **options)
        return self._do(flows.submit(asked, self._settings.retry, wait_s))

    def get(self, job_id: str) -> Job:
        """Read a job.

        Raises:
            NotFound: there is none with that id.
        """
        return self._do(flows.get(job_id, self._settings.retry))

    def wait(self, job: Job | str, timeout_s: float = 300.0) -> Job:
        """Return the job when it has ended.

        Raises:
            WaitTimeout: it has not ended in time.
        """
        known = self.get(job) if isinstance(job, str) else job
        return self._do(flows.wait(known, self._settings.retry, timeout_s))

    def cancel(self, job: Job | str) -> Job:
        """Cancel a job; items under way end first.

        Raises:
            Conflict: it had ended already.
        """
        return self._do(flows.cancel(_id(job), self._settings.retry))

    def list(self, **filters: Any) -> Iterator[Job]:
        """Yield jobs, newest first: `status`, `operation`, `since`, `until`, `limit` (a page)."""
        cursor: str | None = None
        while True:
            query = filters if cursor is None else filters | {"cursor": cursor}
            jobs, cursor = self._do(flows.page(query, self._settings.retry))
            yield from jobs
            if cursor is None:
                return

    def result(self, job: Job, index: int = 0) -> Result:
        """Fetch the result of an item of an ended job.

        Raises:
            JobFailed: the item has none.
        """
        return self._do(flows.result(job, index, self._settings.retry))

    def events(self, job: Job | str) -> Iterator[JobEvent]:
        """Yield the changes of a job until it has ended; connects again where it was cut off.

        Raises:
            ApiError, ConnectionFailed: the events cannot be read, also after the retries.
        """
        parser, attempt, path = EventParser(), 0, f"/v1/jobs/{flows.quoted(_id(job))}/events"
        while True:
            try:
                for event in self._stream(path, parser):
                    attempt = 0
                    yield event
                    if event.name == "finished":
                        return
                # The server stopped, or answered 204: nothing comes after the last event.
                if parser.last_id is not None and self.get(_id(job)).ended:
                    return
                failed: ConnectionFailed | None = None
            except ConnectionFailed as error:
                failed = error
            attempt += 1
            delay_s = self._settings.retry.delay_s(attempt, None)
            if delay_s is None:
                raise failed or ConnectionFailed("The events ended before the job did.")
            time.sleep(delay_s)
            parser.reconnected()

    def map(
        self,
        images: Iterable[Image],
        operation: str | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        concurrency: int = 8,
        on_progress: Progress | None = None,
        timeout_s: float = 300.0,
        **options: Any,
    ) -> Iterator[Outcome]:
        """Run an operation on many images; yield each outcome when it is there.

        One image's failure is an outcome too; the others go on. `images` is read as far as there
        is room, so it may be endless.

        Args:
            concurrency: jobs under way at once.
            on_progress: called after each image with the number done and the number begun.
        """
        begun = done = 0
        source = enumerate(images)
        running: set[Future[Outcome]] = set()

        def one(index: int, image: Image) -> Outcome:
            try:
                made = self.run(image, operation, params, timeout_s=timeout_s, **options)
            except (ImagemillError, OSError) as error:
                return Outcome(index, image, None, error)
            return Outcome(index, image, made, None)

        with ThreadPoolExecutor(concurrency) as pool:
            while True:
                while len(running) < concurrency and (following := next(source, None)):
                    running.add(pool.submit(one, *following))
                    begun += 1
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    done += 1
                    if on_progress is not None:
                        on_progress(done, begun)
                    yield each.result()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        wait_s: int | None = None,
    ) -> Any:
        """Send a request to any route; return the JSON of its answer, None for an empty one.

        Args:
            path: such as `/v1/webhooks/endpoints`.
            json: body; none is sent for None.
            query: parameters; those that are None are left out.
            wait_s: seconds that the API is asked to wait for the outcome (`Prefer: wait`).

        Raises:
            ApiError, ConnectionFailed: there is no answer below 400. POST and PATCH are sent once,
                since a repeat may do the thing twice; others also after the retries.
        """
        asked = flows.any_request(method, path, json, query or {}, wait_s)
        return self._do(flows.document(asked, self._settings.retry))

    def check_listening(self) -> None:
        """Raise ConnectionFailed, without a retry, if nothing listens at the API's address."""
        check_listening(self._settings)

    def operations(self) -> dict[str, Any]:
        """Read the operations, each with the JSON Schema of its params."""
        return self._do(flows.read("/v1/operations", self._settings.retry))

    def models(self) -> dict[str, Any]:
        """Read the models that the workers have."""
        return self._do(flows.read("/v1/models", self._settings.retry))

    def stats(self) -> dict[str, Any]:
        """Read counts, ages, rates and lag."""
        return self._do(flows.read("/v1/stats", self._settings.retry))

    def workers(self) -> dict[str, Any]:
        """Read the workers: slots, busy, models, memory, last heartbeat."""
        return self._do(flows.read("/v1/workers", self._settings.retry))

    def _do(self, flow: Flow[T]) -> T:
        answer: Any = None
        while True:
            try:
                failed = isinstance(answer, Exception)
                step = flow.throw(answer) if failed else flow.send(answer)
            except StopIteration as ended:
                return ended.value
            answer = self._answer(step)

    def _answer(self, step: Step) -> Any:
        """Do what a flow asks for; return what it is sent, or the error thrown into it."""
        match step:
            case Pause(seconds):
                return time.sleep(seconds)
            case ReadImage(image):
                try:
                    return read_image(image)
                except (OSError, TypeError) as error:
                    return error
            case Request():
                try:
                    response = self._http.request(**request_options(step, self._settings))
                except httpx.HTTPError as error:
                    return connection_failed(error, self._settings)
                return reply_of(response)

    def _stream(self, path: str, parser: EventParser) -> Iterator[JobEvent]:
        resume = {} if parser.last_id is None else {"Last-Event-ID": parser.last_id}
        options = request_options(Request("GET", path, headers=resume), self._settings)
        try:
            with self._http.stream(**options) as response:
                if response.status_code >= 400:
                    response.read()
                    raise problem(reply_of(response))
                for line in response.iter_lines():
                    if event := parser.feed(line):
                        yield event
        except httpx.HTTPError as error:
            raise connection_failed(error, self._settings) from error


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.id
