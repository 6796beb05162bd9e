"""Webhook endpoints: create, read, change, delete, rotate the secret, post a test event."""

from __future__ import annotations

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel

from producer_api.access.caller import caller_of
from producer_api.context import API
from producer_api.http.body import read_body
from producer_api.http.forms import parse_json, validate
from producer_api.http.query import json_answer, prefer_wait
from producer_api.http.routing import Docs, Route
from producer_api.webhooks.bodies import (
    EndpointChange,
    EndpointCreate,
    FailedReplay,
    SecretRotation,
    TestPost,
)
from producer_api.webhooks.deliveries import Posted
from producer_api.webhooks.documents import (
    AttemptDocument,
    CreatedEndpoint,
    EndpointDocument,
    EndpointList,
    PostedDocument,
    ReplayedDeliveries,
    SecretDocument,
)
from producer_api.webhooks.endpoints import Endpoints, FoundEndpoint

Body = TypeVar("Body", bound=BaseModel)


async def create_endpoint(request: web.Request) -> web.Response:
    """POST /v1/webhooks/endpoints

    The answer has the secret that signs the posts.
    """
    body = await _body(request, EndpointCreate)
    found, secret = await _endpoints(request).create(caller_of(request), body)
    document = CreatedEndpoint(
        **EndpointDocument.of(*found).model_dump(),
        secret=secret,
        public_key=found.endpoint.secrets[0].public_key,
    )
    headers = {"Location": f"/v1/webhooks/endpoints/{document.id}", "Cache-Control": "no-store"}
    return json_answer(document.model_dump(mode="json"), status=201, headers=headers)


async def list_endpoints(request: web.Request) -> web.Response:
    """GET /v1/webhooks/endpoints"""
    found = await _endpoints(request).all_of(caller_of(request))
    documents = EndpointList(endpoints=[EndpointDocument.of(*each) for each in found])
    return json_answer(documents.model_dump(mode="json"))


async def get_endpoint(request: web.Request) -> web.Response:
    """GET /v1/webhooks/endpoints/{endpoint_id}"""
    return _answer(await _endpoints(request).find(caller_of(request), _id(request)))


async def change_endpoint(request: web.Request) -> web.Response:
    """PATCH /v1/webhooks/endpoints/{endpoint_id}

    Fields that are left out, or null, stay as they are.
    """
    body = await _body(request, EndpointChange)
    return _answer(await _endpoints(request).change(caller_of(request), _id(request), body))


async def delete_endpoint(request: web.Request) -> web.Response:
    """DELETE /v1/webhooks/endpoints/{endpoint_id}

    Its deliveries that wait for another attempt are given up.
    """
    await _endpoints(request).delete(caller_of(request), _id(request))
    return web.Response(status=204)


async def get_secret(request: web.Request) -> web.Response:
    """GET /v1/webhooks/endpoints/{endpoint_id}/secret"""
    found = await _endpoints(request).secret(caller_of(request), _id(request))
    return _secret_answer(SecretDocument.of(*found))


async def rotate_secret(request: web.Request) -> web.Response:
    """POST /v1/webhooks/endpoints/{endpoint_id}/secret/rotate

    The secret before signs the posts too until the overlap ends.
    """
    body = await _body(request, SecretRotation)
    found, secret = await _endpoints(request).rotate(caller_of(request), _id(request), body)
    return _secret_answer(SecretDocument.of(found.endpoint, secret))


async def test_endpoint(request: web.Request) -> web.Response:
    """POST /v1/webhooks/endpoints/{endpoint_id}/test

    It is posted once, also to a disabled endpoint, and counts as no failure. 200 if the attempt
    ends within the preferred wait, else 202.
    """
    body = await _body(request, TestPost)
    await _endpoints(request).find_to_change(caller_of(request), _id(request))
    api = request.app[API]
    wait_s = prefer_wait(request, api.settings.wait_limit_s) or 0.0
    return posted_answer(await api.deliveries.test(_id(request), body.event, wait_s))


async def replay_failed(request: web.Request) -> web.Response:
    """POST /v1/webhooks/endpoints/{endpoint_id}/replay

    Each is posted once, under its first `webhook-id`, with today's URL, headers and secret.
    """
    body = await _body(request, FailedReplay)
    await _endpoints(request).find_to_change(caller_of(request), _id(request))
    replayed = await request.app[API].deliveries.replay_failed(_id(request), body.since)
    document = ReplayedDeliveries(**replayed._asdict())
    return json_answer(document.model_dump(mode="json"), status=202)


def posted_answer(posted: Posted) -> web.Response:
    """Answer 200 with the attempt of a post that was asked for, 202 while there is none."""
    attempt = posted.attempt
    document = PostedDocument(
        delivery_id=posted.delivery_id, attempt=attempt and AttemptDocument.of(attempt)
    )
    headers = {"Location": f"/v1/webhooks/deliveries/{posted.delivery_id}"}
    status = 202 if attempt is None else 200
    return json_answer(document.model_dump(mode="json"), status=status, headers=headers)


def _endpoints(request: web.Request) -> Endpoints:
    return request.app[API].endpoints


def _id(request: web.Request) -> str:
    return request.match_info["endpoint_id"]


async def _body(request: web.Request, model: type[Body]) -> Body:
    """Read a JSON body; an empty one is that of `{}`."""
    raw = await read_body(request, request.app[API].settings.max_field_bytes)
    return parse_json(raw, model) if raw else validate({}, model)


def _answer(found: FoundEndpoint) -> web.Response:
    return json_answer(EndpointDocument.of(*found).model_dump(mode="json"))


def _secret_answer(document: SecretDocument) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return json_answer(document.model_dump(mode="json"), headers=headers)


_ALL = "/v1/webhooks/endpoints"
_ONE = f"{_ALL}/{{endpoint_id}}"
WAIT = {"Prefer": {"type": "string", "description": "wait=N: answer 200 if it is posted in N s"}}
POSTED = {200: PostedDocument, 202: PostedDocument}
_TAG = "webhooks"

ROUTES = (
    Route(
        "POST", _ALL, create_endpoint, "Create a webhook endpoint", _TAG,
        Docs(body=EndpointCreate, answers={201: CreatedEndpoint}),
    ),
    Route(
        "GET", _ALL, list_endpoints, "List webhook endpoints", _TAG,
        Docs(answers={200: EndpointList}),
    ),
    Route(
        "GET", _ONE, get_endpoint, "Read a webhook endpoint", _TAG,
        Docs(answers={200: EndpointDocument}),
    ),
    Route(
        "PATCH", _ONE, change_endpoint, "Change a webhook endpoint", _TAG,
        Docs(body=EndpointChange, answers={200: EndpointDocument}),
    ),
    Route(
        "DELETE", _ONE, delete_endpoint, "Delete a webhook endpoint", _TAG,
        Docs(answers={204: None}),
    ),
    Route(
        "GET", f"{_ONE}/secret", get_secret, "Read an endpoint's secret", _TAG,
        Docs(answers={200: SecretDocument}),
    ),
    Route(
        "POST", f"{_ONE}/secret/rotate", rotate_secret, "Rotate an endpoint's secret", _TAG,
        Docs(body=SecretRotation, answers={200: SecretDocument}),
    ),
    Route(
        "POST", f"{_ONE}/test", test_endpoint, "Post a test event to an endpoint", _TAG,
        Docs(headers=WAIT, body=TestPost, answers=POSTED),
    ),
    Route(
        "POST", f"{_ONE}/replay", replay_failed, "Replay an endpoint's failed deliveries", _TAG,
        Docs(body=FailedReplay, answers={202: ReplayedDeliveries}),
    ),
)  # fmt: skip
