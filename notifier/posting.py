"""Posts one signed webhook and turns the answer into an outcome."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import aiohttp
from standardwebhooks import Webhook as Signer

from imagemill.net.errors import UrlBlocked
from imagemill.net.guard import UrlGuard
from notifier.policy import Outcome, parse_retry_after
from schemas.webhooks import WebhookDelivery, WebhookFailure

# Of the body of a refusal, for the record of the attempt.
_MAX_RESPONSE_BYTES = 500


class WebhookPoster:
    """Posts deliveries with one HTTP session."""

    def __init__(self, session: aiohttp.ClientSession, guard: UrlGuard, signer: Signer) -> None:
        """`session` is a guarded session of `guard`, with the timeout of one attempt."""
        self._session = session
        self._guard = guard
        self._signer = signer

    async def post(self, delivery: WebhookDelivery) -> Outcome:
        """Post the delivery once; every failure is an outcome, none is raised."""
        try:
            # The URL is parsed by the guard, as aiohttp would quote parts of it again.
            url, headers = self._guard.parse(delivery.url), self._headers(delivery)
            async with self._session.post(
                url, data=delivery.body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                return await _outcome(answer)
        except UrlBlocked as error:
            return Outcome(WebhookFailure.BLOCKED, message=str(error))
        except TimeoutError:
            return Outcome(WebhookFailure.TIMEOUT, message="The receiver did not answer in time.")
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(WebhookFailure.UNREACHABLE, message=_unreachable(error))

    def _headers(self, delivery: WebhookDelivery) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "user-agent": "imagemill",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(delivery.delivery_id, now, delivery.body),
        }


async def _outcome(answer: aiohttp.ClientResponse) -> Outcome:
    if 200 <= answer.status < 300:
        return Outcome(status=answer.status)
    try:
        response = (await answer.content.read(_MAX_RESPONSE_BYTES)).decode(errors="replace")
    except (TimeoutError, aiohttp.ClientError):
        # The status alone decides, and it has arrived.
        response = None
    hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    return Outcome(
        WebhookFailure.STATUS,
        status=answer.status,
        message=f"The receiver answered with status {answer.status}{hint}.",
        response=response,
        retry_after_s=parse_retry_after(answer.headers.get("Retry-After"), time.time()),
    )


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
