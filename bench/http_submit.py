"""How many jobs a second the API takes: a 100 KB JPEG each, stored and published before the 202.

Usage: python bench/http_submit.py [--url http://127.0.0.1:8080] [--seconds 10] [--clients 16]
Needs a running API; with --pid it also reports that process's CPU time for each request.
The client writes ready-made bytes to kept-alive connections, so that little of the machine is its.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import time
from urllib.parse import urlsplit

import numpy as np
import psutil
import uvloop
from PIL import Image

_BOUNDARY = b"imagemill-bench"
_SIDE = 400


def jpeg(target_bytes: int = 100_000) -> bytes:
    """A JPEG of about that many bytes: noise, at the quality that comes nearest."""
    pixels = np.random.default_rng(7).integers(0, 255, (_SIDE, _SIDE, 3), dtype=np.uint8)
    sizes = {}
    for quality in range(30, 96, 5):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        sizes[abs(buffer.tell() - target_bytes)] = buffer.getvalue()
    return sizes[min(sizes)]


def request_bytes(host: str, image: bytes, operation: str) -> bytes:
    """A whole POST /v1/jobs request."""
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
    """Send the request again and again; collects seconds from its first byte to the answer."""
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
    """Seconds of every request, sorted."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = request_bytes(parts.netloc, jpeg(), operation)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(host, port, request, until, taken) for _ in range(clients)))
    return sorted(taken)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--operation", default="noop")
    parser.add_argument("--pid", type=int, help="the API's process")
    options = parser.parse_args()
    process = psutil.Process(options.pid) if options.pid else None
    before = sum(process.cpu_times()[:2]) if process else 0.0
    taken = uvloop.run(measure(options.url, options.seconds, options.clients, options.operation))
    print("| clients | jobs/s | p50 ms | p99 ms | API CPU ms/job | API RSS MB |")
    print("|---|---|---|---|---|---|")
    cpu = rss = "-"
    if process:
        cpu = f"{(sum(process.cpu_times()[:2]) - before) * 1000 / len(taken):.2f}"
        rss = f"{process.memory_info().rss / 1e6:.0f}"
    print(
        f"| {options.clients} | {len(taken) / options.seconds:.0f} "
        f"| {statistics.median(taken) * 1000:.1f} | {taken[int(len(taken) * 0.99)] * 1000:.1f} "
        f"| {cpu} | {rss} |"
    )


if __name__ == "__main__":
    main()
