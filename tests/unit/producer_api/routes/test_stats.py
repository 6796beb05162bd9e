"""Statistics and workers, from counts and heartbeats."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from producer_api.read_model.queries import Totals
from producer_api.routes.stats import heartbeats_view, stats_view
from schemas.times import from_epoch

NOW_S = 1_900_000_000.0


def heartbeat(age_s: float = 1.0, **fields: Any) -> bytes:
    beat = {
        "ready": True, "worker_id": "w", "slots": 2, "busy": 1, "waiting": 0, "version": "1",
        "at": from_epoch(NOW_S - age_s), "host": "h", "pid": 7,
    }  # fmt: skip
    return orjson.dumps(beat | fields)


def test_workers_are_alive_then_dead_then_left_out() -> None:
    views = heartbeats_view(
        [("a", heartbeat()), ("b", heartbeat(20)), ("c", heartbeat(3601))], NOW_S
    )
    assert [(view["age_s"], view["alive"]) for view in views] == [(1.0, True), (20.0, False)]


def test_fields_of_newer_workers_are_shown() -> None:
    (view,) = heartbeats_view([("a", heartbeat(temperature=40))], NOW_S)
    assert view["temperature"] == 40
    assert view["slots"] == 2


@pytest.mark.parametrize(
    "document",
    [b"{", b"[]", b"{}", heartbeat(slots="two"), heartbeat(at="soon")],
)
def test_an_invalid_heartbeat_is_left_out(document: bytes) -> None:
    assert heartbeats_view([("a", document)], NOW_S) == []


def test_every_status_and_priority_is_counted() -> None:
    view = stats_view(Totals([("running", "high", "noop", 3)], None, 60, 30))
    assert view["jobs"]["total"] == 3
    assert view["jobs"]["by_status"] == {
        "queued": 0, "running": 3, "succeeded": 0, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert view["jobs"]["by_priority"]["high"]["running"] == 3
    assert view["jobs"]["by_priority"]["low"]["running"] == 0
    assert view["rates"] == {"window_s": 60.0, "submitted_per_s": 1.0, "ended_per_s": 0.5}
    assert view["oldest_queued_age_s"] is None
