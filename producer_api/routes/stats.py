"""Statistics: counts of jobs, ages, rates, lag, and the workers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from imagemill.kafka.errors import KafkaUnavailable
from producer_api.context import API, Api, jobs_of
from producer_api.http.query import json_answer
from producer_api.http.routing import Route
from producer_api.read_model.errors import ReadModelBehind
from producer_api.read_model.queries import Totals
from schemas import topics
from schemas.jobs import JobStatus, Priority
from schemas.times import Timestamp, elapsed_ms, from_epoch, now, to_epoch

_RATE_WINDOW_S = 60.0
# Seconds without a heartbeat after which a worker is not alive; it sends one every few seconds.
_ALIVE_S = 15.0
# Seconds without a heartbeat after which a worker is not listed.
_FORGOTTEN_S = 3600.0


class _Counted(BaseModel):
    """The fields of a heartbeat that statistics are made of."""

    at: Timestamp
    slots: int = Field(ge=0)
    busy: int = Field(ge=0)


async def stats(request: web.Request) -> web.Response:
    """GET /v1/stats: `current` is false while the broker cannot be asked.

    A caller that sees only its own jobs gets their counts, and null for the lag, which is of all.
    """
    api, jobs = request.app[API], jobs_of(request)
    current, lag = True, None
    try:
        await api.read_model.catch_up()
        if jobs.sees_all:
            lag = await api.lag.by_priority()
    except (KafkaUnavailable, ReadModelBehind):
        current = False
    totals = await jobs.totals(from_epoch(time.time() - _RATE_WINDOW_S))
    alive = [worker for worker in workers_view(api) if worker["alive"]]
    return json_answer(
        stats_view(totals)
        | {
            "current": current,
            "lag": lag,
            "workers": {
                "alive": len(alive),
                "slots": sum(worker["slots"] for worker in alive),
                "busy": sum(worker["busy"] for worker in alive),
            },
        }
    )


def stats_view(totals: Totals) -> dict[str, Any]:
    """Return counts under every status and priority, zeros included."""
    none = dict.fromkeys((status.value for status in JobStatus), 0)
    by_status = dict(none)
    by_priority = {priority.value: dict(none) for priority in Priority}
    by_operation: defaultdict[str, dict[str, int]] = defaultdict(none.copy)
    for status, priority, operation, jobs in totals.counts:
        by_status[status] += jobs
        by_priority[priority][status] += jobs
        by_operation[operation][status] += jobs
    oldest = totals.oldest_queued
    return {
        "jobs": {
            "total": sum(by_status.values()),
            "by_status": by_status,
            "by_priority": by_priority,
            "by_operation": dict(by_operation),
        },
        "oldest_queued_age_s": elapsed_ms(oldest, now()) / 1000 if oldest else None,
        "rates": {
            "window_s": _RATE_WINDOW_S,
            "submitted_per_s": round(totals.submitted / _RATE_WINDOW_S, 3),
            "ended_per_s": round(totals.ended / _RATE_WINDOW_S, 3),
        },
    }


async def workers(request: web.Request) -> web.Response:
    """GET /v1/workers"""
    return json_answer({"workers": workers_view(request.app[API])})


def workers_view(api: Api) -> list[dict[str, Any]]:
    """Show the workers whose heartbeats are known here."""
    heartbeats = api.read_model.queries.documents(topics.WORKERS_HEARTBEATS.name)
    return heartbeats_view(heartbeats, time.time())


def heartbeats_view(heartbeats: Iterable[tuple[str, bytes]], now_s: float) -> list[dict[str, Any]]:
    """Show the last heartbeat of each worker with its age, none older than an hour.

    Anyone may write to the topic, so a heartbeat without the fields that are counted here is left
    out. Other fields are shown as they came: workers of other versions send others.
    """
    seen = []
    for name, document in heartbeats:
        try:
            at = _Counted.model_validate_json(document).at
            fields = orjson.loads(document)
        except (ValidationError, orjson.JSONDecodeError):
            continue
        age_s = now_s - to_epoch(at)
        if age_s < _FORGOTTEN_S:
            seen.append(
                {"worker_id": name} | fields | {"alive": age_s < _ALIVE_S, "age_s": round(age_s, 1)}
            )
    return seen


ROUTES = (
    Route("GET", "/v1/stats", stats, "Counts, ages, rates and lag", "operations"),
    Route("GET", "/v1/workers", workers, "Workers: slots, busy, models", "operations"),
)
