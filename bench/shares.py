"""Measure fair shares: one owner's single jobs beside another's backlog, weights, and their cost.

Prints three figures, each a ratio of runs that alternate on one broker, since the machine's speed
changes in the course of minutes:

1. the latency of single jobs of owner B behind 100,000 waiting jobs of owner A, to that on an idle
   system, at p50 and p99. Their work is a no-op, which runs in the worker's own thread, or a photo
   of 0.2 megapixels that is blurred, which runs in an inference process;
2. the starts of two owners with weights 3 and 1 who both wait, A's jobs all before B's in the log;
3. the throughput of A alone with the scout, to that without it.

B sleeps at random between two jobs, so that they meet A's at any moment. A running item is not
interrupted, so B waits for the rest of one of A's, too: with few slots that is much of the first
ratio. Broker, worker and client share the machine.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
import uuid
from pathlib import Path

from bench._pictures import photos
from bench._system import Results, System, system
from imagemill.settings import StoreSettings
from imagemill.storage import open_store
from schemas import cloudevents
from schemas.events import JobSubmitted
from schemas.jobs import ItemInput
from schemas.times import now

WAITING_ROUNDS = 3
BACKLOG = 100_000
SINGLES = 150
MAX_PAUSE_S = 0.05
WEIGHT_ROUNDS = 3
WEIGHT_JOBS = 20_000
ALONE_ROUNDS = 6
ALONE_JOBS = 20_000
WARM_UP_JOBS = 20_000
TIMEOUT_S = 300
PHOTO = "bench/photo.png"
# What a job asks for, beside its owner.
WORK: dict[str, dict[str, object]] = {
    "noop": {"operation": "noop"},
    "photo": {
        "operation": "transform",
        "params": {"steps": [{"do": "blur", "sigma": 3}]},
        "inputs": (ItemInput(key=PHOTO),),
    },
}
# The work of A and of B in the first measurement.
CASES = (("noop", "noop"), ("noop", "photo"), ("photo", "photo"))


def message_of(work: str, owner: str, weight: int = 1) -> tuple[str, cloudevents.Encoded]:
    """Make a job of one item."""
    job_id = str(uuid.uuid4())
    job = JobSubmitted(
        job_id=job_id, total=1, created_at=now(), owner=owner, weight=weight, **WORK[work]
    )
    return job_id, cloudevents.encode(job)


def queue(running: System, owner: str, jobs: int, weight: int = 1, work: str = "noop") -> set[str]:
    """Publish jobs of an owner; return their ids."""
    producer, topic = running.producer(**{"linger.ms": 5}), running.kafka.topic("jobs.normal")
    ids = set()
    for number in range(jobs):
        job_id, encoded = message_of(work, owner, weight)
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        if number % 500 == 0:
            producer.poll(0)
        ids.add(job_id)
    producer.flush(60)
    return ids


def single_jobs(
    running: System, work: str, results: Results, backlog: set[str] | None = None
) -> list[float]:
    """Measure the milliseconds of single jobs of B; end early with A's backlog, if there is one.

    Args:
        results: reads from before the backlog on.
    """
    producer, topic = running.producer(), running.kafka.topic("jobs.normal")
    taken: list[float] = []
    left = set(backlog or ())
    while ended := results.poll(0):
        left.difference_update(message.key().decode() for message in ended)
    while len(taken) < SINGLES and (left or backlog is None):
        job_id, encoded = message_of(work, "b")
        start = time.perf_counter()
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        producer.poll(0)
        keys: list[str] = []
        while job_id not in keys:
            keys = [message.key().decode() for message in results.poll(1.0)]
            left.difference_update(keys)
        taken.append((time.perf_counter() - start) * 1000)
        time.sleep(random.uniform(0, MAX_PAUSE_S))
    return taken


def quantiles(taken: list[float]) -> tuple[float, float, float]:
    """Return p50, p99 and maximum."""
    ordered = sorted(taken)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]


def waiting() -> None:
    """Print the latencies of single jobs, idle and behind a backlog in turn."""
    print(f"1. single jobs of B, idle and behind {BACKLOG} of A ({SINGLES} of each a round)")
    print(f"{'A':>6} {'B':>6} {'round':>5} {'':>7} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}")
    for works in CASES:
        taken: dict[str, list[float]] = {"idle": [], "behind": []}
        for number in range(1, WAITING_ROUNDS + 1):
            for label, found in one_round(*works).items():
                taken[label] += found
                p50, p99, most = quantiles(found)
                row = f"{number:>5} {label:>7} {p50:>7.1f} {p99:>7.1f} {most:>7.1f}"
                print(f"{works[0]:>6} {works[1]:>6} {row}", flush=True)
        (p50, p99, _), (behind_p50, behind_p99, _) = map(quantiles, taken.values())
        ratios = f"p50 x {behind_p50 / p50:.2f}, p99 x {behind_p99 / p99:.2f}"
        print(f"A {works[0]}, B {works[1]}: {ratios}\n", flush=True)


def one_round(work_a: str, work_b: str) -> dict[str, list[float]]:
    """Measure on a system of its own, which does not have to work off the backlog."""
    with system("processor") as running:
        home = Path(running.env["IMAGEMILL_HOME"])
        open_store(StoreSettings(home=home)).put(PHOTO, photos(1)[0], "image/png")
        drain(running, WARM_UP_JOBS)
        single_jobs(running, work_b, running.results())
        idle = single_jobs(running, work_b, running.results())
        results = running.results()
        backlog = queue(running, "a", BACKLOG, work=work_a)
        return {"idle": idle, "behind": single_jobs(running, work_b, results, backlog)}


def weights(running: System) -> None:
    """Print the numbers of jobs that two owners of weights 3 and 1 get while both wait."""
    print(f"2. weights 3 and 1, {WEIGHT_JOBS} jobs each, the first before the second in the log")
    ratios = []
    for number in range(1, WEIGHT_ROUNDS + 1):
        results = running.results(hurried=False)
        jobs = {3: queue(running, "a", WEIGHT_JOBS, 3), 1: queue(running, "b", WEIGHT_JOBS, 1)}
        left = jobs[1] | jobs[3]
        order: list[int] = []
        while left:
            for message in results.poll(1.0):
                found = message.key().decode()
                if found in left:
                    left.discard(found)
                    order.append(3 if found in jobs[3] else 1)
        counted = order[order.index(1) + WEIGHT_JOBS // 50 :]
        # Without the end of A's, when only some partitions have any left.
        places = [place for place, weight in enumerate(counted) if weight == 3]
        counted = counted[: places[len(places) * 9 // 10]]
        ratios.append(counted.count(3) / counted.count(1))
        print(f"{number:>6}  {ratios[-1]:.3f} : 1 of {len(counted)} jobs", flush=True)
    print(f"{'med':>6}  {statistics.median(ratios):.3f} : 1\n", flush=True)


def alone(running: System) -> None:
    """Print the throughput of one owner with and without the scout, in turn."""
    print(f"3. jobs/s of A alone, {ALONE_JOBS} a run")
    print(f"{'round':>6} {'scout':>7} {'none':>7} {'ratio':>6}")
    ratios = []
    for number in range(1, ALONE_ROUNDS + 1):
        rates = {}
        # Each is the first every other time.
        for limit in ("4096", "0") if number % 2 else ("0", "4096"):
            running.restart_processor(IMAGEMILL_AHEAD_LIMIT=limit)
            drain(running, ALONE_JOBS // 4)
            rates[limit] = drain(running, ALONE_JOBS)
        ratios.append(rates["4096"] / rates["0"])
        row = f"{number:>6} {rates['4096']:>7.0f} {rates['0']:>7.0f} {ratios[-1]:>6.3f}"
        print(row, flush=True)
    print(f"{'med':>6} {'':>15} {statistics.median(ratios):>6.3f}", flush=True)


def drain(running: System, jobs: int) -> float:
    """Queue jobs of A, and return how many a second ended from the first send on."""
    results = running.results(hurried=False)
    start = time.perf_counter()
    results.wait_for(queue(running, "a", jobs), TIMEOUT_S)
    return jobs / (time.perf_counter() - start)


def main(names: list[str]) -> None:
    """Run and print the named measurements (waiting, weights, alone), or all."""
    print(f"load of the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    if not names or "waiting" in names:
        waiting()
    shared = [each for each in (weights, alone) if not names or each.__name__ in names]
    if not shared:
        return
    with system("processor") as running:
        print(f"the first {WARM_UP_JOBS} jobs: {drain(running, WARM_UP_JOBS):.0f}/s\n", flush=True)
        for measurement in shared:
            measurement(running)


if __name__ == "__main__":
    main(sys.argv[1:])
