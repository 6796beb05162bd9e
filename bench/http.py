"""Measure submits over HTTP, each of a 100 KB JPEG that is stored and published before the 202.

Prints the time of the first job after the start beside the next ten, jobs answered and ended per
second (medians of the runs), the latency of one job at a time from HTTP to its result event, and
the resident memory of all parts. Broker, API, processor and client share the cores. The client
writes prepared bytes to kept-alive connections, which costs it 0.1 ms of CPU per job.

Two causes outside imagemill make a run slow. A new broker takes 4 ms of CPU per job until Java has
compiled it, and 0.5 ms after some 20,000 jobs: hence the long warm-up, whose rate is printed too.
And for minutes after thousands of files were removed, such as those of another run, ext4 searches
thousands of inodes for each new file: 0.4 ms of system time per job. Wait a few minutes between
runs.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import socket
import statistics
import time
from urllib.parse import urlsplit

import numpy as np
import uvloop
from PIL import Image

from bench._system import ROOT, System, system

_BOUNDARY = b"imagemill-bench"
_SIDE = 400
_WARM_UP_S = 60


def jpeg(target_bytes: int = 100_000) -> bytes:
    """Make a JPEG of noise, at the quality whose size is nearest to `target_bytes`."""
    pixels = np.random.default_rng(7).integers(0, 255, (_SIDE, _SIDE, 3), dtype=np.uint8)
    sizes = {}
    for quality in range(30, 96, 5):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        sizes[abs(buffer.tell() - target_bytes)] = buffer.getvalue()
    return sizes[min(sizes)]


def request_bytes(host: str, image: bytes, operation: str) -> bytes:
    """Return the bytes of a whole POST /v1/jobs request."""
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="operation"\r\n\r\n%s\r\n'
        % (_BOUNDARY, operation.encode()),
        b'--%s\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n%s\r\n" % (_BOUNDARY, image),
        b"--%s--\r\n" % _BOUNDARY,
    ]
    body = b"".join(parts)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\n\r\n"
    )
    return head.encode() + body


async def client(host: str, port: int, request: bytes, until: float, taken: list[float]) -> None:
    """Send the request until `until`; append the seconds from its first byte to the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if status != 202:
            raise SystemExit(f"answered {status}: {body.decode()}")
        taken.append(time.perf_counter() - begun)
    writer.close()


async def measure(url: str, seconds: float, clients: int, operation: str) -> list[float]:
    """Send requests with `clients` at once; return the seconds of each, sorted."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = request_bytes(parts.netloc, jpeg(), operation)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(host, port, request, until, taken) for _ in range(clients)))
    return sorted(taken)


def measure_rates(running: System, seconds: float, clients: int) -> tuple[float, float, float]:
    """Measure jobs answered per second, jobs ended per second, and CPU ms of the API per job."""
    results, cpu = running.results(hurried=False), running.own_cpu_s("api")
    begun = time.perf_counter()
    taken = uvloop.run(measure(running.url, seconds, clients, "noop"))
    answered = len(taken) / (time.perf_counter() - begun)
    used = (running.own_cpu_s("api") - cpu) / len(taken) * 1000
    ended = 0
    while ended < len(taken):
        ended += len(results.poll(5.0))
    return answered, ended / (time.perf_counter() - begun), used


def one_at_a_time(running: System, jobs: int, image: bytes, operation: str) -> list[float]:
    """Measure the milliseconds from each request's first byte to its result event."""
    parts = urlsplit(running.url)
    request = request_bytes(parts.netloc, image, operation)
    results, taken = running.results(), []
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(jobs):
            begun = time.perf_counter()
            connection.sendall(request)
            while not results.poll(1.0):
                pass
            taken.append((time.perf_counter() - begun) * 1000)
            connection.recv(65536)
    return taken


def first_job(running: System) -> str:
    """Time the first cut-out of a system that has just become ready, and the next ten."""
    photo = (ROOT / "assets" / "sample.jpg").read_bytes()
    first, *others = one_at_a_time(running, 11, photo, "remove-background")
    usual = statistics.median(others)
    return (
        f"first remove-background after the start: {first:.0f} ms, median of the next ten "
        f"{usual:.0f} ms: {first / usual:.1f} times"
    )


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--first-only", action="store_true", help="only the first job's time")
    options = parser.parse_args()
    with system("api", "processor") as running:
        print(first_job(running), flush=True)
        if options.first_only:
            return
        _, ended, used = measure_rates(running, _WARM_UP_S, options.clients)
        print(f"the first {_WARM_UP_S} s: {ended:.0f} jobs ended/s, API {used:.2f} CPU ms/job")
        print("run   answered/s   ended/s   API CPU ms/job")
        rows = [
            measure_rates(running, options.seconds, options.clients) for _ in range(options.runs)
        ]
        for number, row in enumerate(rows, 1):
            print("{:>3} {:>12.0f} {:>9.0f} {:>16.2f}".format(number, *row))
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        print("med {:>12.0f} {:>9.0f} {:>16.2f}".format(*medians))
        taken = sorted(one_at_a_time(running, 400, jpeg(), "noop"))
        p50, p90, p99 = (taken[int(len(taken) * q)] for q in (0.5, 0.9, 0.99))
        print(
            f"one at a time, HTTP to result event: p50 {p50:.1f} ms, p90 {p90:.1f}, "
            f"p99 {p99:.1f}, max {taken[-1]:.1f}"
        )
        for name, process in running.processes.items():
            family = [process, *process.children(recursive=True)]
            rss = [member.memory_info().rss / 1e6 for member in family]
            print(f"{name}: {rss[0]:.0f} MB resident, children {[round(mb) for mb in rss[1:]]}")
        print(f"broker: {running.broker_rss_mb():.0f} MB resident")


if __name__ == "__main__":
    main()
