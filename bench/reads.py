"""Measure rebuilds, status reads while jobs run, submits, reads at another API, and big batches.

Prints five tables. A read's latency counts from the moment it was due, so that a stall of the
server counts in full; client, API, processor and broker share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from PIL import Image

from bench._system import Results, System, home, system
from bench.stream import message
from imagemill.process.gc import freeze_gc
from imagemill.settings import ApiSettings
from imagemill.storage import loose_upload_key
from producer_api.read_model.read_model import ReadModel
from schemas import cloudevents
from schemas.events import ItemQueued, JobSubmitted
from schemas.jobs import ItemInput
from schemas.times import now

READS_PER_S = 200
READ_S = 15.0
KNOWN_JOBS = 2000
HANDOVERS = 500
SUBMITS = 300
REBUILT_JOBS = 50_000
BATCH = 1000
RUNS = 5
REBUILDS = 3
GRAY = {"steps": [{"do": "grayscale"}]}
_NOOP = {"operation": "noop"}
Act = Callable[[], Awaitable[object]]


def quantiles(taken: list[float]) -> str:
    """Format p50, p99 and the maximum of some milliseconds."""
    ordered = sorted(taken)
    p50, p99 = (ordered[int(len(ordered) * q)] for q in (0.5, 0.99))
    return f"{p50:>8.2f} {p99:>8.2f} {ordered[-1]:>8.2f}"


async def at_rate(per_s: float, seconds: float, act: Act) -> list[float]:
    """Start `act` at a fixed rate; return the milliseconds from when each was due to its end."""
    taken: list[float] = []
    running = set()

    async def one(due: float) -> None:
        await act()
        taken.append((time.perf_counter() - due) * 1000)

    start = time.perf_counter()
    for number in range(int(per_s * seconds)):
        due = start + number / per_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return taken


class Client:
    """Sends requests on kept-alive connections."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, url: str) -> dict[str, Any]:
        """Return the answer's document.

        Raises:
            ClientResponseError: the status is no 2xx.
        """
        async with self._session.get(url, raise_for_status=True) as answer:
            return await answer.json()

    async def submit(self, url: str, body: dict[str, Any], job_id: str | None = None) -> str:
        """Submit a job, under an id of the client's if one is given; return its id."""
        method, path = ("POST", "/v1/jobs") if job_id is None else ("PUT", f"/v1/jobs/{job_id}")
        request = self._session.request(method, url + path, json=body, raise_for_status=True)
        async with request as answer:
            return (await answer.json())["id"]

    async def upload(self, url: str, content: bytes) -> str:
        """Upload a PNG; return the id of the upload."""
        wanted = {"content_type": "image/png"}
        async with self._session.post(f"{url}/v1/uploads", json=wanted) as answer:
            target = await answer.json()
        await self._session.put(target["url"], data=content, raise_for_status=True)
        return target["upload_id"]


@asynccontextmanager
async def repeated(act: Act) -> AsyncIterator[None]:
    """Repeat `act` until the block ends."""

    async def always() -> None:
        while True:
            await act()

    task = asyncio.create_task(always())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def status_reads(running: System, client: Client) -> None:
    """Read known jobs at random: while nothing runs, while small jobs run, and cut-outs."""
    known = [await client.submit(running.url, _NOOP) for _ in range(KNOWN_JOBS)]
    rng = random.Random(1)
    photo = {"upload_id": await client.upload(running.url, _png(600))}

    async def read() -> None:
        await client.get(f"{running.url}/v1/jobs/{rng.choice(known)}")

    async def small() -> None:
        known.append(await client.submit(running.url, _NOOP))
        await asyncio.sleep(0.01)

    async def cut_out() -> None:
        body = {"operation": "remove-background", "inputs": [photo]}
        job_id = await client.submit(running.url, body)
        await client.get(f"{running.url}/v1/jobs/{job_id}?wait=60")

    async def cut_outs() -> None:
        await asyncio.gather(cut_out(), cut_out())

    print(f"status reads at {READS_PER_S}/s{'p50 ms':>21} {'p99 ms':>8} {'max ms':>8}")
    print(f"{'  while nothing runs':<33}{quantiles(await at_rate(READS_PER_S, READ_S, read))}")
    loads: dict[str, Act] = {"while ~90 noops/s run": small}
    if (home() / "models" / "u2netp.onnx").is_file():
        loads["while two cut-outs always run"] = cut_outs
    for name, load in loads.items():
        async with repeated(load):
            print(f"  {name:<31}{quantiles(await at_rate(READS_PER_S, READ_S, read))}")


async def submits(running: System, client: Client) -> None:
    """Submit one job at a time: without an id, and with one, on which all APIs must agree."""
    print(f"submits, one at a time{'p50 ms':>19} {'p99 ms':>8} {'max ms':>8}")
    for name, keyed in (("  ids of the server", False), ("  ids of the client", True)):
        taken = []
        for _ in range(SUBMITS):
            start = time.perf_counter()
            await client.submit(running.url, _NOOP, str(uuid.uuid4()) if keyed else None)
            taken.append((time.perf_counter() - start) * 1000)
        print(f"{name:<33}{quantiles(taken)}")


async def handovers(running: System, client: Client) -> None:
    """Time from the answer of a submit at one API to the job's first read at the other."""
    other = running.second_api("api-2")
    taken = []
    for number in range(HANDOVERS):
        here, there = (running.url, other) if number % 2 else (other, running.url)
        job_id = await client.submit(here, _NOOP)
        start = time.perf_counter()
        # Never a 404, which would raise: the other API answers one only after it has caught up.
        await client.get(f"{there}/v1/jobs/{job_id}")
        taken.append((time.perf_counter() - start) * 1000)
    running.stop("api-2")
    print(f"submit at one API, read at other{'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    print(f"  {HANDOVERS} jobs, one at a time{'':<8}{quantiles(taken)}")


def rebuild(running: System, jobs: int) -> None:
    """Fill the topics with ended jobs, then read them into new read models, as an API does."""
    results, producer = running.results(), running.producer(**{"linger.ms": 5})
    topic = running.kafka.topic("jobs.normal")
    batch = [message() for _ in range(jobs)]
    for number, (job_id, encoded) in enumerate(batch):
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        if number % 500 == 0:
            producer.poll(0)
    producer.flush(60)
    results.wait_for({job_id for job_id, _ in batch}, 300)
    freeze_gc()
    print(f"rebuild of the read model, {jobs} jobs {'s':>8} {'jobs/s':>8}")
    rates = []
    for run in range(REBUILDS):
        took_s = asyncio.run(_read_all(running, f"rebuilt-{run}"))
        rates.append(jobs / took_s)
        print(f"{took_s:>44.2f} {rates[-1]:>8.0f}")
    print(f"  {'median':<42} {statistics.median(rates):>8.0f}")


async def _read_all(running: System, name: str) -> float:
    """Return the seconds in which a new read model reads the topics to their ends."""
    kafka = running.kafka.model_dump(include={"kafka_bootstrap_servers", "topic_prefix"})
    file = Path(running.env["IMAGEMILL_HOME"]) / f"{name}.db"
    read_model = ReadModel(ApiSettings(**kafka, projection_path=file))
    start = time.perf_counter()
    await read_model.start()
    try:
        await read_model.wait_ready()
        return time.perf_counter() - start
    finally:
        await read_model.stop()


def big_batches(running: System, upload_id: str) -> None:
    """Time a batch of tiny pictures, as many jobs of one picture, and the batch's fan-out."""
    image = ItemInput(key=loose_upload_key(upload_id), content_type="image/png")
    rows = []
    for _ in range(RUNS):
        results = running.results()
        singles = _published(running, [1] * BATCH, image, results)
        whole = _published(running, [BATCH], image, results)
        rows.append((singles[0], whole[0], whole[0] - singles[0], whole[1]))
    print(
        f"{BATCH} tiny pictures, gray   as single jobs, s   as one batch, s   added, s   fan-out, s"
    )
    for row in (*rows, tuple(statistics.median(column) for column in zip(*rows, strict=True))):
        single_s, batch_s, added_s, fan_out_s = row
        print(f"{single_s:>35.2f} {batch_s:>17.2f} {added_s:>10.2f} {fan_out_s:>12.3f}")
    print("  the last row is the median; fan-out is from the submission to the last item's message")


def _published(
    running: System, totals: list[int], image: ItemInput, results: Results
) -> tuple[float, float]:
    """Seconds until jobs of so many items have ended, and until the last item was queued."""
    producer = running.producer(**{"linger.ms": 5})
    topic = running.kafka.topic("jobs.normal")
    jobs = [
        JobSubmitted(
            job_id=str(uuid.uuid4()), operation="transform", params=GRAY, total=total,
            created_at=now(), inputs=(image,) * total,
        )
        for total in totals
    ]  # fmt: skip
    queued = _Queued(running)
    start = time.perf_counter()
    for job in jobs:
        encoded = cloudevents.encode(job)
        producer.produce(topic, encoded.value, job.job_id, headers=encoded.headers)
    producer.flush(30)
    ended = results.wait_for({job.job_id for job in jobs}, 300)
    took = time.perf_counter() - start
    assert all(event["progress"]["failed"] == 0 for event in ended.values())
    return took, queued.fan_out_s(jobs[0].job_id) if len(jobs) == 1 else 0.0


class _Queued:
    """Reads the messages of one batch on its priority topic, with the broker's times."""

    def __init__(self, running: System) -> None:
        self._results = Results(running.kafka, "jobs.normal")

    def fan_out_s(self, job_id: str) -> float:
        """Return the seconds from the submission's message to the last item's."""
        submitted_ms, queued_ms = 0, 0
        while messages := self._results.poll(1.0):
            for found in messages:
                if found.key().decode().partition("/")[0] != job_id:
                    continue
                at_ms = found.timestamp()[1]
                if cloudevents.event_type(found.headers()) == ItemQueued.TYPE:
                    queued_ms = max(queued_ms, at_ms)
                else:
                    submitted_ms = at_ms
        return (queued_ms - submitted_ms) / 1000


def _png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


async def over_http(running: System) -> str:
    """Print the tables of requests over HTTP; return the id of an upload for the batches."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        client = Client(session)
        await status_reads(running, client)
        await submits(running, client)
        await handovers(running, client)
        return await client.upload(running.url, _png(16))


def main() -> None:
    """Measure and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=REBUILT_JOBS, help="jobs of the rebuild")
    arguments = parser.parse_args()
    with system("api", "processor") as running:
        # First, while the topics hold these jobs alone; the others then read among many.
        rebuild(running, arguments.jobs)
        upload_id = uvloop.run(over_http(running))
        big_batches(running, upload_id)


if __name__ == "__main__":
    main()
