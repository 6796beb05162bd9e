"""Measure the stream itself: no-op jobs, from a priority topic to the result event.

Prints jobs per second and CPU milliseconds of the workers per job, with one worker and with two,
since the stream of a worker is one thread of Python; and the latency of one job at a time. Figures
are medians of the runs; broker and client share the machine. A new broker takes three times the CPU
until Java has compiled it: its first jobs are a warm-up, whose rate is printed too.
"""

from __future__ import annotations

import statistics
import time
import uuid

from bench._system import System, system
from schemas import cloudevents
from schemas.events import JobSubmitted
from schemas.times import now

RUNS = 5
JOBS = 10_000
WARM_UP_JOBS = 20_000
SINGLE_JOBS = 400


def message() -> tuple[str, cloudevents.Encoded]:
    """Make a no-op job."""
    job_id = str(uuid.uuid4())
    job = JobSubmitted(job_id=job_id, operation="noop", total=1, created_at=now())
    return job_id, cloudevents.encode(job)


def workers_cpu_s(running: System) -> float:
    """Return the CPU seconds of the workers' main processes."""
    return sum(running.own_cpu_s(label) for label in running.processes)


def throughput(running: System, jobs: int) -> tuple[float, float]:
    """Measure jobs per second, first send to last result, and CPU ms of all workers per job."""
    batch = [message() for _ in range(jobs)]
    results = running.results(hurried=False)
    producer = running.producer(**{"linger.ms": 5})
    topic = running.kafka.topic("jobs.normal")
    cpu, start = workers_cpu_s(running), time.perf_counter()
    for number, (job_id, encoded) in enumerate(batch):
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        if number % 500 == 0:
            producer.poll(0)
    producer.flush(30)
    results.wait_for({job_id for job_id, _ in batch}, 120)
    took = time.perf_counter() - start
    return jobs / took, (workers_cpu_s(running) - cpu) / jobs * 1000


def latencies(running: System, jobs: int) -> list[float]:
    """Measure the milliseconds from the send to the result event, one job at a time."""
    results, producer = running.results(), running.producer()
    topic = running.kafka.topic("jobs.high")
    taken = []
    for _ in range(jobs):
        job_id, encoded = message()
        start = time.perf_counter()
        producer.produce(topic, encoded.value, job_id, headers=encoded.headers)
        producer.poll(0)
        while not any(m.key().decode() == job_id for m in results.poll(1.0)):
            pass
        taken.append((time.perf_counter() - start) * 1000)
    return sorted(taken)


def print_runs(running: System, workers: str) -> None:
    """Measure the throughput and print a table of the runs."""
    rows = [throughput(running, JOBS) for _ in range(RUNS)]
    print(f"{workers}\n{'run':>4} {'jobs/s':>8} {'CPU ms/job':>11}")
    for number, (rate, cpu) in enumerate(rows, 1):
        print(f"{number:>4} {rate:>8.0f} {cpu:>11.3f}")
    rate, cpu = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{'med':>4} {rate:>8.0f} {cpu:>11.3f}   ({JOBS} jobs a run)", flush=True)


def main() -> None:
    """Run and print the tables."""
    with system("processor") as running:
        rate, cpu = throughput(running, WARM_UP_JOBS)
        print(f"the first {WARM_UP_JOBS} jobs: {rate:.0f}/s, {cpu:.3f} CPU ms/job")
        print_runs(running, "one worker")
        taken = latencies(running, SINGLE_JOBS)
        p50, p90, p99 = (taken[int(len(taken) * q)] for q in (0.5, 0.9, 0.99))
        print(f"one at a time: p50 {p50:.1f} ms, p90 {p90:.1f}, p99 {p99:.1f}, max {taken[-1]:.1f}")
        running.second_processor("second")
        throughput(running, JOBS)
        print_runs(running, "two workers")


if __name__ == "__main__":
    main()
