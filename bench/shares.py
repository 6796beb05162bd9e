"""Measure fair shares: one owner's single jobs beside another's backlog, weights, and their cost.

Prints three figures, each a ratio of runs that alternate on one broker, since the machine's speed
changes in the course of minutes:

1. the latency of single jobs of owner B behind 100,000 waiting jobs of owner A, to that on an idle
   system, at p50 and p99;
2. the starts of two owners with weights 3 and 1 who both wait, A's jobs all before B's in the log;
3. the throughput of A alone with the scout, to that without it.

Jobs of A are no-ops, which show the cost of the stream; those of B are, too, and sleep at random
between two, so that they meet A's at any moment. Broker, worker and client share the machine.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
import uuid

from bench._system import System, system
from schemas import cloudevents
from schemas.events import JobSubmitted
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


def queue(running: System, owner: str, jobs: int, weight: int = 1) -> set[str]:
    """Publish no-op jobs of an owner; return their ids."""
    producer, topic = running.producer(**{"linger.ms": 5}), running.kafka.topic("jobs.normal")
    ids = set()
    for number in range(jobs):
        job_id = str(uuid.uuid4())
        job = JobSubmitted(
            job_id=job_id,
            operation="noop",
            total=1,
            created_at=now(),
            owner=owner,
            weight=weight,
        )
        encoded = cloudevents.encode(job)
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        if number % 500 == 0:
            producer.poll(0)
        ids.add(job_id)
    producer.flush(60)
    return ids


def single_jobs(running: System, jobs: int, backlog: set[str]) -> list[float]:
    """Measure the milliseconds of single jobs of B; forget the jobs of the backlog that end.

    Stops early, with a message, when nothing of the backlog is left.
    """
    results, producer = running.results(), running.producer()
    topic, waits = running.kafka.topic("jobs.normal"), bool(backlog)
    taken: list[float] = []
    while len(taken) < jobs:
        job_id = str(uuid.uuid4())
        job = JobSubmitted(job_id=job_id, operation="noop", total=1, created_at=now(), owner="b")
        encoded = cloudevents.encode(job)
        start = time.perf_counter()
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        producer.poll(0)
        ended = False
        while not ended:
            for message in results.poll(1.0):
                found = message.key().decode()
                ended = ended or found == job_id
                backlog.discard(found)
        taken.append((time.perf_counter() - start) * 1000)
        if waits and not backlog:
            print(f"the backlog ended after {len(taken)} single jobs")
            break
        time.sleep(random.uniform(0, MAX_PAUSE_S))
    return taken


def quantiles(taken: list[float]) -> tuple[float, float, float]:
    """Return p50, p99 and maximum."""
    ordered = sorted(taken)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1]


def waiting(running: System) -> None:
    """Print the latencies of single jobs, idle and behind a backlog in turn."""
    idle: list[float] = []
    behind: list[float] = []
    print(f"1. single jobs of B, idle and behind {BACKLOG} of A ({SINGLES} each a round)")
    print(f"{'round':>6} {'':>7} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}")
    for number in range(1, WAITING_ROUNDS + 1):
        for label, all_taken, jobs in (("idle", idle, 0), ("behind", behind, BACKLOG)):
            results = running.results(hurried=False)
            backlog = queue(running, "a", jobs)
            taken = single_jobs(running, SINGLES, set(backlog))
            all_taken += taken
            p50, p99, most = quantiles(taken)
            print(f"{number:>6} {label:>7} {p50:>7.1f} {p99:>7.1f} {most:>7.1f}", flush=True)
            results.wait_for(backlog, TIMEOUT_S)
    (p50, p99, _), (p50_behind, p99_behind, _) = quantiles(idle), quantiles(behind)
    print(f"behind / idle: p50 {p50_behind / p50:.2f}, p99 {p99_behind / p99:.2f}\n", flush=True)


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
        both = order[order.index(1) : len(order) - order[::-1].index(3)]
        counted = both[len(both) // 20 : len(both) * 19 // 20]
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
    with system("processor") as running:
        print(f"the first {WARM_UP_JOBS} jobs: {drain(running, WARM_UP_JOBS):.0f}/s\n", flush=True)
        for measurement in (waiting, weights, alone):
            if not names or measurement.__name__ in names:
                measurement(running)


if __name__ == "__main__":
    main(sys.argv[1:])
