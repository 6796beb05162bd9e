"""Measure how a hanging host delays the webhooks of a healthy one: milliseconds, alone and beside.

A notifier delivers the ends of 1,000 jobs to a receiver that answers at once; then the same beside
1,000 to a host that accepts connections and never answers. The messages come at a steady rate,
those of both hosts in alternation, and a delivery takes from the write of its message until the
receiver has it. The p99 beside the hanging host should be at most 1.2 times that alone.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench._system import System, system
from imagemill.local.ports import next_free
from schemas.cloudevents import encode
from schemas.events import JobFinished
from schemas.jobs import Item, JobState, JobStatus, Webhook

DELIVERIES = 1000
RATE_PER_S = 200
ROUNDS = 5
_TIMEOUT_S = 120
# Far above what hangs at once, so that the hanging host accepts every connection.
_LISTEN_BACKLOG = 4096


def main() -> None:
    """Measure and print the table."""
    port = next_free(24_000 + os.getpid() % 1000)
    with system(IMAGEMILL_URL_ALLOW="127.0.0.1") as running, receiver() as healthy:
        running.start(
            "notifier", f"http://127.0.0.1:{port}/readyz", IMAGEMILL_NOTIFIER_PORT=str(port)
        )
        deliver(running, healthy, None)
        print(f"{'':24} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
        ratios = []
        for _ in range(ROUNDS):
            alone = deliver(running, healthy, None)
            show("alone", alone)
            with hanging_host() as url:
                beside = deliver(running, healthy, url)
            show("beside a hanging host", beside)
            ratios.append(percentile(beside, 99) / percentile(alone, 99))
        print(f"p99 beside / alone: {statistics.median(ratios):.2f} (median of {ROUNDS})")


def show(name: str, times_ms: list[float]) -> None:
    """Print a row."""
    p50, p99 = percentile(times_ms, 50), percentile(times_ms, 99)
    print(f"{name:24} {p50:8.1f} {p99:8.1f} {max(times_ms):8.1f}", flush=True)


def percentile(times_ms: list[float], share: int) -> float:
    """Return the time within which that share of the deliveries, in percent, arrived."""
    return statistics.quantiles(times_ms, n=100, method="inclusive")[share - 1]


class Receiver(ThreadingHTTPServer):
    """Answers at once, and keeps the time at which each job's delivery came."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.arrived: dict[str, float] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Hook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.arrived.setdefault(json.loads(body)["data"]["job_id"], time.perf_counter())
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver in a thread of its own."""
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def hanging_host() -> Iterator[str]:
    """Listen on a new port without ever answering; the kernel accepts the connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=_LISTEN_BACKLOG) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/hook"


def deliver(running: System, healthy: Receiver, hanging: str | None) -> list[float]:
    """Deliver to the healthy host, beside the hanging one if given; return the milliseconds.

    Raises:
        TimeoutError: not all arrived in 120 s.
    """
    producer = running.producer()
    topic = running.kafka.topic("jobs.results")
    # The first message of a producer waits up to a second for its id and its partition's leader.
    value, headers = encode(finished(uuid.uuid4().hex, None))
    producer.produce(topic, value, b"first", headers=headers)
    producer.flush()
    sent: dict[str, float] = {}
    start = time.perf_counter()
    for number in range(DELIVERIES):
        time.sleep(max(0.0, start + number / RATE_PER_S - time.perf_counter()))
        for url in filter(None, (hanging, healthy.url)):
            event = finished(uuid.uuid4().hex, url)
            value, headers = encode(event)
            if url == healthy.url:
                sent[event.job_id] = time.perf_counter()
            producer.produce(topic, value, event.job_id.encode(), headers=headers)
        producer.poll(0)
    producer.flush()
    end = time.monotonic() + _TIMEOUT_S
    while missing := sent.keys() - healthy.arrived.keys():
        if time.monotonic() > end:
            raise TimeoutError(f"{len(missing)} deliveries did not arrive")
        time.sleep(0.05)
    return [(healthy.arrived[job_id] - at) * 1000 for job_id, at in sent.items()]


def finished(job_id: str, url: str | None) -> JobFinished:
    """Return the end of a job of one image; without a URL it is posted to nobody."""
    state = JobState(
        job_id=job_id,
        status=JobStatus.SUCCEEDED,
        operation="noop",
        total=1,
        outcomes="s",
        items=(Item(index=0, status=JobStatus.SUCCEEDED),),
        attempts=1,
        created_at="2026-01-01T00:00:00.000Z",
        finished_at="2026-01-01T00:00:01.000Z",
        webhook=Webhook(url=url) if url else None,
    )
    return JobFinished.of(state)


if __name__ == "__main__":
    main()
