"""What request handlers work with, found in the application under one key."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from imagemill.kafka import AsyncProducer
from imagemill.settings import ApiSettings
from imagemill.storage import ObjectStore, UrlSigner
from producer_api.cancel import Canceller
from producer_api.lag import Lag
from producer_api.projection import Projection
from producer_api.submit import Submitter


@dataclass(frozen=True)
class Api:
    """The parts of a running API."""

    settings: ApiSettings
    store: ObjectStore
    signer: UrlSigner
    producer: AsyncProducer
    projection: Projection
    submitter: Submitter
    canceller: Canceller
    lag: Lag


API = web.AppKey("api", Api)
