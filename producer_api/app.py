"""The application: its parts opened and closed with it, and its routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from imagemill.kafka.config import producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import open_signer, open_store
from imagemill.storage.asynchronous import AsyncStore
from producer_api.context import API, Api
from producer_api.dialects import (
    background_removal,
    image_processing,
    image_text,
    inference,
    rembg_queue,
)
from producer_api.http import metrics
from producer_api.http.cors import allow_origins, parse_origins
from producer_api.http.metrics import METRICS, Metrics, metrics_middleware
from producer_api.http.problems import problems_middleware
from producer_api.http.routing import Route, add_routes
from producer_api.jobs.cancellation import Canceller
from producer_api.jobs.consumer_lag import ConsumerLag
from producer_api.jobs.retention import Retention
from producer_api.jobs.submit import Submitter
from producer_api.read_model.read_model import ReadModel
from producer_api.routes import (
    cancel,
    console,
    events,
    files,
    health,
    items,
    jobs,
    operations,
    stats,
    templates,
    uploads,
)
from producer_api.routes.docs import docs_routes

_API: tuple[Route, ...] = (
    *jobs.ROUTES,
    *items.ROUTES,
    *events.ROUTES,
    *cancel.ROUTES,
    *uploads.ROUTES,
    *templates.ROUTES,
    *operations.ROUTES,
    *stats.ROUTES,
    *files.ROUTES,
    *health.ROUTES,
    *metrics.ROUTES,
    *background_removal.ROUTES,
    *image_text.ROUTES,
    *inference.ROUTES,
    *image_processing.ROUTES,
    *rembg_queue.ROUTES,
)
ROUTES = (*_API, *docs_routes(_API), *console.ROUTES)


def create_app(settings: ApiSettings) -> web.Application:
    """The API. The broker need not be reachable: until it is, /readyz says so.

    Raises:
        ValueError: the store's settings are wrong, or the origins are.
        StoreUnavailable: the store's folder cannot be used.
        sqlite3.Error: the projection's file can be neither opened nor created.
    """
    # Bodies are read as streams under limits of our own; aiohttp's own limit guards only
    # Request.read(), which nothing here calls.
    # Content codings are undone by http/body.py, which answers unknown ones with a problem.
    app = web.Application(
        middlewares=[metrics_middleware, problems_middleware],
        handler_args={"auto_decompress": False},
    )
    store = AsyncStore(open_store(settings))
    producer = AsyncProducer(
        producer_config(settings, delivery_timeout_s=settings.delivery_timeout_s)
    )
    read_model = ReadModel(settings)
    canceller = Canceller(settings, producer, read_model)
    app[API] = Api(
        settings=settings,
        store=store,
        signer=open_signer(settings),
        producer=producer,
        read_model=read_model,
        submitter=Submitter(settings, store, producer, read_model, canceller),
        canceller=canceller,
        lag=ConsumerLag(settings, read_model),
    )
    app[METRICS] = Metrics(read_model)
    app.cleanup_ctx.append(_running)
    app.on_shutdown.append(_let_go)
    add_routes(app, ROUTES)
    allow_origins(app, parse_origins(settings.cors_origins))
    return app


async def _running(app: web.Application) -> AsyncIterator[None]:
    api = app[API]
    await api.read_model.start()
    sweeping = asyncio.create_task(
        Retention(api.settings, api.store.blocking, api.producer, api.read_model).run()
    )
    yield
    sweeping.cancel()
    await api.producer.close()
    await api.read_model.stop()


async def _let_go(app: web.Application) -> None:
    """Answer the requests that wait for jobs: the server stops only when all are answered."""
    app[API].read_model.waiters.close()
