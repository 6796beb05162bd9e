"""The parts that request handlers use, in the application under one key."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import ObjectUrls, UrlSigner
from imagemill.storage.asynchronous import AsyncStore
from producer_api.access.caller import caller_of
from producer_api.access.keys.changes import KeyChanges
from producer_api.access.keys.ring import KeyRing
from producer_api.access.visible import VisibleJobs
from producer_api.jobs.cancellation import Canceller
from producer_api.jobs.consumer_lag import ConsumerLag
from producer_api.jobs.submit import Submitter
from producer_api.read_model.read_model import ReadModel
from producer_api.webhooks.deliveries import Deliveries
from producer_api.webhooks.endpoints import Endpoints


@dataclass(frozen=True)
class Api:
    """The parts of a running API."""

    settings: ApiSettings
    store: AsyncStore
    signer: UrlSigner
    object_urls: ObjectUrls
    producer: AsyncProducer
    read_model: ReadModel
    submitter: Submitter
    canceller: Canceller
    lag: ConsumerLag
    endpoints: Endpoints
    deliveries: Deliveries
    key_ring: KeyRing
    keys: KeyChanges


API = web.AppKey("api", Api)


def jobs_of(request: web.Request) -> VisibleJobs:
    """Return the jobs and templates that the caller of a request sees.

    Those of other owners are not there, so no handler has to remember to look at an owner.
    """
    return VisibleJobs(request.app[API].read_model, caller_of(request))
