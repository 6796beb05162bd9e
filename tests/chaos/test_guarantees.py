"""What a sender and a reader may rely on, whatever dies: on a real broker, with real workers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from schemas.jobs import JobStatus, Priority
from tests.chaos.harness import CHECKERS, Load, Results, Stage, Workers, workers

Ports = Callable[[], int]


def _mixed_load(load: Load, rng: random.Random, jobs: int) -> None:
    """Jobs of all priorities: mostly of no work, some that take a while, a few batches."""
    for _ in range(jobs):
        chance = rng.random()
        if chance < 0.01:
            load.batch(rng.randint(2, 6), seconds=0.01)
        elif chance < 0.06:
            load.submit("nap", rng.choice(list(Priority)), seconds=0.02)
        else:
            load.submit("noop", rng.choice(list(Priority)))


class _Havoc:
    """Kills, stops, starts again and joins workers, one event after the other."""

    def __init__(self, running: Workers, rng: random.Random) -> None:
        self._running = running
        self._rng = rng
        self._joined = len(running.names)
        self.told: list[str] = []

    def strike(self, event: str) -> None:
        """One event on a worker that chance picks."""
        name = self._rng.choice(self._running.names)
        if event == "join":
            self._joined += 1
            name = self._running.start(f"w{self._joined}")
        elif event == "kill":
            self._running.kill(name)
        elif event == "restart":
            self._running.kill(name)
            self._running.start(name)
        elif event == "leave":
            # Not in the middle of its start, when nothing is its own yet.
            self._running.wait_ready(name)
            assert self._running.stop(name) == 0, f"{name} did not stop cleanly"
        self.told.append(f"{event} {name}")


def test_workers_may_be_killed_restarted_joined_and_stopped_in_mid_load(
    stage: Stage, ports: Ports
) -> None:
    rng = random.Random(20260301)
    load, results = Load(stage), Results(stage)
    with workers(stage, ports, slots=1) as running:
        for name in ("w1", "w2", "w3"):
            running.start(name)
        _mixed_load(load, rng, 1500)
        running.wait_ready(timeout_s=90)
        havoc = _Havoc(running, rng)
        for event in ("restart", "leave", "join", "restart", "kill", "join", "restart"):
            havoc.strike(event)
            _mixed_load(load, rng, 150)
            until = time.monotonic() + rng.uniform(1.0, 4.0)
            while time.monotonic() < until:
                results.read(0.1)
                running.revive()
        load.flush()
        results.wait_for(load.jobs, 90, meanwhile=running.revive)
        for checker in CHECKERS:
            checker.check(load, results, stage)
        assert not running.deaths, f"{running.deaths} died by themselves: {havoc.told}"


def test_high_goes_before_low_while_low_jobs_wait(stage: Stage, ports: Ports) -> None:
    load, results = Load(stage), Results(stage)
    with workers(stage, ports, slots=1) as running:
        running.start("w1")
        running.wait_ready()
        low = [load.submit("nap", Priority.LOW, seconds=0.05) for _ in range(200)]
        load.flush()
        results.wait_for([low[0].job_id], 30)
        high = [load.submit("nap", Priority.HIGH, seconds=0.05) for _ in range(10)]
        load.flush()
        results.wait_for([job.job_id for job in high], 30)
        waiting = len(low) - sum(job.job_id in results.events for job in low)
        assert waiting > 100, f"only {waiting} low jobs still waited for the high ones"
        results.wait_for(load.jobs, 60)
        assert all(results.of(job).status is JobStatus.SUCCEEDED for job in low + high)
