"""Posts one signed webhook and turns the answer into an outcome."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp

from imagemill.net.errors import UrlBlocked
from imagemill.net.guard import UrlGuard
from notifier.posts.addresses import Addresses, NotSigned
from notifier.posts.policy import Outcome, parse_retry_after
from schemas.webhooks import WebhookDelivery, WebhookFailure

log = logging.getLogger(__name__)

# Of an answer's body, for the record of the attempt.
_MAX_RESPONSE_BYTES = 2048
# A receiver that has answered with a status is not waited for longer than this for the body.
_RESPONSE_TIMEOUT_S = 1.0


class WebhookPoster:
    """Posts deliveries with one HTTP session."""

    def __init__(
        self, session: aiohttp.ClientSession, guard: UrlGuard, addresses: Addresses
    ) -> None:
        """`session` is a guarded session of `guard`, with the timeout of one attempt."""
        self._session = session
        self._guard = guard
        self._addresses = addresses

    def addressed(self, delivery: WebhookDelivery) -> WebhookDelivery:
        """Return the delivery with the URL that its receiver has today.

        Raises:
            NotPosted: it is not to be posted any more.
        """
        return self._addresses.addressed(delivery)

    async def post(self, delivery: WebhookDelivery) -> Outcome:
        """Post the delivery once; every failure of a receiver is an outcome.

        Raises:
            NotPosted: its endpoint is deleted.
        """
        try:
            # The URL is parsed by the guard, as aiohttp would quote parts of it again.
            url = self._guard.parse(delivery.url)
            headers = self._addresses.headers(delivery, time.time())
            async with self._session.post(
                url, data=delivery.body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                return await _outcome(answer)
        except UrlBlocked as error:
            return Outcome(WebhookFailure.BLOCKED, message=str(error))
        except NotSigned as error:
            return Outcome(WebhookFailure.NOT_SIGNED, message=str(error))
        except TimeoutError:
            return Outcome(WebhookFailure.TIMEOUT, message="The receiver did not answer in time.")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(WebhookFailure.UNREACHABLE, message=_unreachable(error))


async def _outcome(answer: aiohttp.ClientResponse) -> Outcome:
    response = await _beginning(answer)
    if 200 <= answer.status < 300:
        return Outcome(status=answer.status, response=response)
    hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    return Outcome(
        WebhookFailure.STATUS,
        status=answer.status,
        message=f"The receiver answered with status {answer.status}{hint}.",
        response=response,
        retry_after_s=parse_retry_after(answer.headers.get("Retry-After"), time.time()),
    )


async def _beginning(answer: aiohttp.ClientResponse) -> str | None:
    """Return the beginning of the answer's body; None if there is none, or it did not come."""
    read = b""
    try:
        async with asyncio.timeout(_RESPONSE_TIMEOUT_S):
            while len(read) < _MAX_RESPONSE_BYTES:
                more = await answer.content.read(_MAX_RESPONSE_BYTES - len(read))
                if not more:
                    break
                read += more
    except (TimeoutError, aiohttp.ClientError) as error:
        # The status alone decides, and it has arrived.
        log.debug("the body of an answer did not arrive: %r", error)
    return read.decode(errors="replace") or None


def _unreachable(error: Exception) -> str:
    # aiohttp's own texts contain addresses, which may belong to a private network.
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "The receiver's host name does not resolve."
        case aiohttp.ClientSSLError():
            return "The receiver's TLS certificate or handshake is not valid."
        case aiohttp.ClientConnectorError():
            return "The receiver cannot be connected to."
        case _:
            return "The receiver broke off the connection."
