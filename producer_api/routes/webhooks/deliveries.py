"""Webhook deliveries: list, read with their attempts, replay."""

from __future__ import annotations

from aiohttp import web

from producer_api.access.caller import caller_of
from producer_api.context import API
from producer_api.http.problems import field_problem
from producer_api.http.query import (
    json_answer,
    prefer_wait,
    query_cursor,
    query_int,
    query_text,
    query_values,
)
from producer_api.http.routing import TEXT, Docs, Route
from producer_api.read_model.webhook_queries import DeliveryFilter
from producer_api.read_model.webhooks.rows import DeliveryStatus
from producer_api.routes.webhooks.endpoints import POSTED, WAIT, posted_answer
from producer_api.webhooks.deliveries import Deliveries
from producer_api.webhooks.documents import (
    AttemptDocument,
    AttemptList,
    DeliveryDocument,
    DeliveryList,
)

_PAGE = 20
_MAX_PAGE = 100


async def list_deliveries(request: web.Request) -> web.Response:
    """GET /v1/webhooks/deliveries

    A delivery is listed from its first attempt on, and for as long as ended jobs are kept.
    """
    caller = caller_of(request)
    statuses = query_values(request, "status")
    if not set(DeliveryStatus) >= set(statuses):
        expected = ", ".join(DeliveryStatus)
        raise field_problem("status", f"expected one of {expected}", code="query_invalid")
    wanted = DeliveryFilter(
        endpoint_id=query_text(request, "endpoint_id") or "",
        job_id=query_text(request, "job_id") or "",
        statuses=statuses,
        owner=caller.owner if caller.own_only else None,
    )
    limit = query_int(request, "limit", _PAGE, 1, _MAX_PAGE)
    rows, following = await _deliveries(request).page(wanted, limit, query_cursor(request))
    document = DeliveryList(
        deliveries=[DeliveryDocument.of(row) for row in rows],
        next_cursor=following.encode() if following else None,
    )
    return json_answer(document.model_dump(mode="json"))


async def get_delivery(request: web.Request) -> web.Response:
    """GET /v1/webhooks/deliveries/{delivery_id}"""
    row = await _deliveries(request).find(caller_of(request), _id(request))
    return json_answer(DeliveryDocument.of(row).model_dump(mode="json"))


async def list_attempts(request: web.Request) -> web.Response:
    """GET /v1/webhooks/deliveries/{delivery_id}/attempts"""
    found = await _deliveries(request).attempts(caller_of(request), _id(request))
    document = AttemptList(attempts=[AttemptDocument.of(attempt) for attempt in found])
    return json_answer(document.model_dump(mode="json"))


async def replay_delivery(request: web.Request) -> web.Response:
    """POST /v1/webhooks/deliveries/{delivery_id}/replay

    It is posted once, under its first `webhook-id`, with the endpoint's URL, headers and secret of
    today, also while the endpoint is disabled, and counts as no failure. 200 if the attempt ends
    within the preferred wait, else 202.
    """
    wait_s = prefer_wait(request, request.app[API].settings.wait_limit_s) or 0.0
    return posted_answer(
        await _deliveries(request).replay(caller_of(request), _id(request), wait_s)
    )


def _deliveries(request: web.Request) -> Deliveries:
    return request.app[API].deliveries


def _id(request: web.Request) -> str:
    return request.match_info["delivery_id"]


_ALL = "/v1/webhooks/deliveries"
_ONE = f"{_ALL}/{{delivery_id}}"
_TAG = "webhooks"
_FILTERS = {
    "endpoint_id": TEXT,
    "job_id": TEXT,
    "status": {
        "type": "array",
        "items": {"type": "string", "enum": [status.value for status in DeliveryStatus]},
    },
    "limit": {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "default": _PAGE},
    "cursor": TEXT,
}

ROUTES = (
    Route(
        "GET", _ALL, list_deliveries, "List webhook deliveries, newest first", _TAG,
        Docs(query=_FILTERS, answers={200: DeliveryList}),
    ),
    Route(
        "GET", _ONE, get_delivery, "Read a webhook delivery", _TAG,
        Docs(answers={200: DeliveryDocument}),
    ),
    Route(
        "GET", f"{_ONE}/attempts", list_attempts, "List the attempts at a delivery", _TAG,
        Docs(answers={200: AttemptList}),
    ),
    Route(
        "POST", f"{_ONE}/replay", replay_delivery, "Post a delivery once more", _TAG,
        Docs(headers=WAIT, answers=POSTED),
    ),
)  # fmt: skip
