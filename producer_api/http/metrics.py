"""Metrics of the API for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from producer_api.http.problems import Handler
from producer_api.http.routing import Route
from producer_api.read_model.read_model import ReadModel

METRICS = web.AppKey("metrics", "Metrics")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """Counts requests, and reads the read model when it is scraped; one for each application."""

    def __init__(self, read_model: ReadModel) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter(
            "imagemill_http_requests", "Requests answered", labels, registry=self._registry
        )
        self._seconds = Histogram(
            "imagemill_http_request_seconds", "From a request's head to its answer",
            ("method", "route"), buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        # Finding a metric by its labels takes four times as long as counting in it.
        self._counter = cache(self._requests.labels)
        self._histogram = cache(self._seconds.labels)
        self._registry.register(_ReadModelCollector(read_model))
        ProcessCollector(registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request and its seconds."""
        self._counter(method, route, status).inc()
        self._histogram(method, route).observe(seconds)

    def register(self, collector: Collector) -> None:
        """Add the metrics that a part of the API yields when it is scraped."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _ReadModelCollector:
    """Gauges of the read model, read at each scrape."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as of now."""
        jobs = GaugeMetricFamily("imagemill_jobs", "Jobs known", labels=("status", "priority"))
        counts: dict[tuple[str, str], int] = {}
        for status, priority, _, number in self._read_model.queries.counts():
            counts[status, priority] = counts.get((status, priority), 0) + number
        for labels, number in counts.items():
            jobs.add_metric(labels, number)
        yield jobs
        feed = self._read_model.feed
        for name, text, value in (
            ("projection_ready", "Whether all topics were read to their ends", self._ready()),
            ("projection_messages", "Sum of the offsets read", sum(feed.read_offsets.values())),
            ("projection_skipped", "Messages that could not be used", feed.skipped),
            ("waiting_requests", "Requests that wait for a job", self._read_model.waiters.count),
        ):
            yield GaugeMetricFamily(f"imagemill_{name}", text, value=value)

    def _ready(self) -> int:
        return int(self._read_model.ready)


@web.middleware
async def metrics_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count every request under its route's pattern; the path would make a label of every id."""
    begun = time.perf_counter()
    response = await handler(request)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unmatched"
    seconds = time.perf_counter() - begun
    request.app[METRICS].answered(request.method, route, response.status, seconds)
    return response


async def get_metrics(request: web.Request) -> web.Response:
    """GET /metrics"""
    return web.Response(
        body=request.app[METRICS].text(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
    )


ROUTES = (Route("GET", "/metrics", get_metrics, "Prometheus metrics", "health"),)
