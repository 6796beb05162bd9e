"""The application: builds its parts, starts and stops them, and serves the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from imagemill.kafka.config import producer_config
from imagemill.kafka.producer import AsyncProducer
from imagemill.net.addresses import AddressPolicy
from imagemill.net.guard import UrlGuard
from imagemill.settings import ApiSettings
from imagemill.storage import open_object_urls, open_signer, open_store
from imagemill.storage.asynchronous import AsyncStore
from imagemill.webhooks.sealing import open_sealer
from producer_api.access.guard import GUARD, Guard, NoKeys, access_middleware
from producer_api.access.keys.changes import KeyChanges
from producer_api.access.keys.feed import KeyFeed
from producer_api.access.keys.last_used import LastUsed
from producer_api.access.keys.ring import KeyRing
from producer_api.access.oidc.verifier import take_tokens
from producer_api.access.request_rate import limit_rates
from producer_api.audit.middleware import audit_middleware, record_requests
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
from producer_api.jobs.url_lifetime import UrlLifetime
from producer_api.read_model.read_model import ReadModel
from producer_api.routes import (
    cancel,
    console,
    events,
    files,
    health,
    items,
    jobs,
    keys,
    operations,
    stats,
    templates,
    uploads,
    webhooks,
)
from producer_api.routes.docs import docs_routes
from producer_api.webhooks.deliveries import Deliveries
from producer_api.webhooks.endpoints import Endpoints
from schemas import topics

_API: tuple[Route, ...] = (
    *jobs.ROUTES,
    *items.ROUTES,
    *events.ROUTES,
    *cancel.ROUTES,
    *uploads.ROUTES,
    *templates.ROUTES,
    *webhooks.ROUTES,
    *keys.ROUTES,
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
KEY_FEED = web.AppKey("key_feed", KeyFeed)
# Routes that move to a port of their own where IMAGEMILL_OPS_PORT is set.
_OPS = (*health.PROBES, *metrics.ROUTES)


def create_app(settings: ApiSettings) -> web.Application:
    """Build the API. The broker need not be reachable; /readyz answers 503 until it is.

    Raises:
        ValueError: the settings of the store, or the origins, are invalid.
        StoreUnavailable: the store's folder cannot be used.
        sqlite3.Error: the read model's file can be neither opened nor created.
        ScopesMissing: a route is not in the table of scopes.
    """
    # Bodies are streamed under this API's own limits; aiohttp's `client_max_size` guards only
    # Request.read(), which nothing here calls. http/body.py decodes content codings, because
    # aiohttp answers an unknown one in plain text, with a traceback in the log.
    app = web.Application(
        middlewares=[metrics_middleware, audit_middleware, problems_middleware, access_middleware],
        handler_args={"auto_decompress": False},
    )
    store = AsyncStore(open_store(settings))
    producer = AsyncProducer(
        producer_config(settings, delivery_timeout_s=settings.delivery_timeout_s)
    )
    read_model = ReadModel(settings)
    canceller = Canceller(settings, producer, read_model)
    url_guard = UrlGuard(AddressPolicy.parse(settings.url_allow))
    ring = _guard(app, settings, producer)
    app[API] = Api(
        settings=settings,
        store=store,
        signer=open_signer(settings),
        object_urls=open_object_urls(settings, store.blocking, UrlLifetime(settings, app[GUARD])),
        producer=producer,
        read_model=read_model,
        submitter=Submitter(settings, store, producer, read_model, canceller),
        canceller=canceller,
        lag=ConsumerLag(settings, read_model),
        endpoints=Endpoints(settings, producer, read_model, url_guard, open_sealer(settings)),
        deliveries=Deliveries(settings, producer, read_model),
        key_ring=ring,
        keys=KeyChanges(settings, producer, ring),
    )
    app[METRICS] = Metrics(read_model)
    limit_rates(app)
    app.cleanup_ctx.append(_running)
    record_requests(app, settings, producer)
    app.on_shutdown.append(_answer_waiting)
    separate = () if settings.ops_port is None else _OPS
    add_routes(app, [route for route in ROUTES if route not in separate])
    allow_origins(app, parse_origins(settings.cors_origins))
    return app


def _guard(app: web.Application, settings: ApiSettings, producer: AsyncProducer) -> KeyRing:
    """Add the parts that ask callers for keys and tokens; return the keys, not read yet.

    Raises:
        ScopesMissing: a route is not in the table of scopes.
    """
    ring = KeyRing()
    app[KEY_FEED] = KeyFeed(settings, ring)
    uses = LastUsed(producer, settings.topic(topics.ACCESS_USED.name), ring)
    app[GUARD] = Guard(settings, ring, ROUTES, uses, take_tokens(app, settings))
    return ring


def create_ops_app(app: web.Application) -> web.Application:
    """Build the application of health and metrics alone; it reports on `app`, which runs."""
    ops = web.Application(middlewares=[metrics_middleware, problems_middleware])
    ops[API] = app[API]
    ops[METRICS] = app[METRICS]
    add_routes(ops, _OPS)
    return ops


async def _running(app: web.Application) -> AsyncIterator[None]:
    api, key_feed = app[API], app[KEY_FEED]
    key_feed.start()
    try:
        await app[GUARD].check_start()
    except NoKeys:
        await key_feed.stop()
        raise
    await api.read_model.start()
    sweeping = asyncio.create_task(
        Retention(api.settings, api.store.blocking, api.producer, api.read_model).run()
    )
    yield
    sweeping.cancel()
    await key_feed.stop()
    await api.producer.close()
    await api.read_model.stop()


async def _answer_waiting(app: web.Application) -> None:
    """Answer the requests that wait for jobs, since the server stops only without requests."""
    app[API].read_model.waiters.close()
