"""Measure images per second of each operation: through the whole system, and in a bare loop.

The bare loop does the same with the same libraries alone: the same files, from their bytes to the
result, in as many processes as the system has. Both alternate in one run, and their ratio is the
figure to read. The loops use the CPU provider, the system its default.

`python -m bench.images --operation transform` measures that one only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import _bare
from bench._pictures import SHARED, camera_photos, invoices, photos
from bench._system import System, system
from imagemill.storage import upload_key
from schemas import cloudevents
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput
from schemas.times import now

PROCESSES = len(os.sched_getaffinity(0))
_SHRINK = {"steps": [{"do": "resize", "width": 400, "height": 400}]}
_FILTER = {
    "steps": [{"do": "blur", "sigma": 2}, {"do": "grayscale"}, {"do": "rotate", "degrees": 90}],
    "format": "webp",
    "quality": 80,
}


@dataclass(frozen=True)
class Work:
    """A bare loop, and named params that make the system do the same.

    `files` makes as many files as asked; a run takes `count`.
    """

    loop: Callable[[], _bare.Body]
    variants: dict[str, dict[str, Any]]
    files: Callable[[int], list[bytes]]
    count: int


_PRECISIONS = {name: {"precision": name} for name in ("exact", "balanced", "fast")}

WORKS: dict[str, list[Work]] = {
    "remove-background": [Work(_bare.remover, _PRECISIONS, photos, 60)],
    "detect-objects": [
        Work(partial(_bare.detector, name), {name: {"model": name}}, photos, 150)
        for name in _bare.SIDES
    ],
    "read-text": [Work(_bare.reader, {"five lines": {}}, invoices, 40)],
    "process-image-and-text": [
        Work(_bare.reader_and_detector, {"five lines": {"text": "Invoice 4711"}}, invoices, 40)
    ],
    "transform": [
        Work(_bare.shrinker, {"6 MP to 400 pixels": _SHRINK}, camera_photos, 150),
        Work(_bare.filters, {"blur, grey, turn": _FILTER}, photos, 300),
    ],
}


class JobsFailed(RuntimeError):
    """Jobs of the benchmark failed; the message is that of the first."""


def bare_rate(work: Work, files: list[bytes]) -> float:
    """Measure the images per second of a bare loop in all processes together."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(PROCESSES), context.Array("d", PROCESSES * 2)
    running = [
        context.Process(
            target=_bare_process, args=(work.loop, files[number::PROCESSES], barrier, times, number)
        )
        for number in range(PROCESSES)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
        if process.exitcode:
            raise RuntimeError("a bare loop failed")
    return len(files) / (max(times[1::2]) - min(times[::2]))


def _bare_process(
    loop: Callable[[], _bare.Body], files: list[bytes], barrier: Any, times: Any, number: int
) -> None:
    try:
        body = loop()
        body(files[0])
    except BaseException:
        barrier.abort()
        raise
    barrier.wait()
    times[number * 2] = time.perf_counter()
    for data in files:
        body(data)
    times[number * 2 + 1] = time.perf_counter()


def system_rate(
    running: System, operation: str, params: dict[str, Any], files: list[bytes]
) -> float:
    """Measure the images per second from the first submit to the last result event."""
    objects = Path(running.env["IMAGEMILL_HOME"]) / "objects"
    jobs = {}
    for data in files:
        job_id = str(uuid.uuid4())
        key = upload_key(job_id, 0)
        (objects / key).parent.mkdir(parents=True, exist_ok=True)
        (objects / key).write_bytes(data)
        jobs[job_id] = JobSubmitted(
            job_id=job_id,
            operation=operation,
            params=params,
            total=1,
            created_at=now(),
            inputs=(ItemInput(key=key),),
        )
    results, producer = running.results(), running.producer()
    start = time.perf_counter()
    for job_id, job in jobs.items():
        encoded = cloudevents.encode(job)
        topic = running.kafka.topic("jobs.normal")
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
    producer.flush(30)
    ended = results.wait_for(set(jobs), 600)
    took = time.perf_counter() - start
    failed = [event["error"] for event in ended.values() if event["status"] != "succeeded"]
    if failed:
        raise JobsFailed(f"{len(failed)} jobs failed, the first with {failed[0]['message']}")
    return len(files) / took


def measured(
    running: System, operation: str, work: Work, files: list[bytes], runs: int
) -> dict[str, list[float]]:
    """Measure the bare loop and the variants that this machine can run, in alternation."""
    possible = {}
    for name, params in work.variants.items():
        try:
            # Each process loads the models at its first image.
            system_rate(running, operation, params, files[: PROCESSES * 2])
            possible[name] = params
        except JobsFailed as error:
            print(f"{operation:<23} {name:<21} not here: {error}")
    rates: dict[str, list[float]] = {name: [] for name in ("bare loop", *possible) if possible}
    for _ in range(runs if possible else 0):
        rates["bare loop"].append(bare_rate(work, files))
        for name, params in possible.items():
            rates[name].append(system_rate(running, operation, params, files))
    return rates


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operation", choices=WORKS, action="append", help="default: all")
    parser.add_argument("--images", type=int, help="a run, instead of each operation's own number")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'operation':<23} {'':<21} {'images':>6} {'images/s':>9} {'to the bare loop':>17}")
    with system("processor", IMAGEMILL_MODELS=str(SHARED / "models")) as running:
        for operation in arguments.operation or WORKS:
            for work in WORKS[operation]:
                files = work.files(arguments.images or work.count)
                rates = measured(running, operation, work, files, arguments.runs)
                for name, values in rates.items():
                    rate, bare = statistics.median(values), statistics.median(rates["bare loop"])
                    row = f"{operation:<23} {name:<21} {len(files):>6} {rate:>9.2f}"
                    print(f"{row} {rate / bare:>17.2f}", flush=True)
    print(f"{PROCESSES} processes, medians of {arguments.runs} runs")


if __name__ == "__main__":
    main()
