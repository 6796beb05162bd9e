"""API keys, for an admin: create, list, read, change, revoke and rotate them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from producer_api.access.caller import ANYONE, Caller, caller_of
from producer_api.access.keys.changes import KeyEnded, UnknownKey
from producer_api.access.keys.documents import (
    KeyBody,
    KeyDocument,
    KeyList,
    KeyPatch,
    NewKeyDocument,
    RotateBody,
)
from producer_api.context import API, Api
from producer_api.http.body import read_body
from producer_api.http.forms import parse_json
from producer_api.http.problems import Problem
from producer_api.http.query import json_answer
from producer_api.http.routing import Docs, Route
from schemas.access import AccessKey

# Proxies and browsers must not keep an answer that has a secret.
_UNCACHED = {"Cache-Control": "no-store"}


async def create_key(request: web.Request) -> web.Response:
    """POST /v1/keys: the answer has the secret, this once."""
    api, caller = request.app[API], _admin(request)
    body = parse_json(await read_body(request, api.settings.max_field_bytes), KeyBody)
    key, secret = await api.keys.create(body, body.owner, caller.name)
    headers = _UNCACHED | {"Location": f"/v1/keys/{key.key_id}"}
    return json_answer(_with_secret(api, key, secret), status=201, headers=headers)


async def list_keys(request: web.Request) -> web.Response:
    """GET /v1/keys: all of them, revoked and expired ones included."""
    api = request.app[API]
    _admin(request)
    documents = (KeyDocument.of(known, api.key_ring) for known in api.key_ring.all())
    return json_answer({"keys": [document.model_dump(mode="json") for document in documents]})


async def get_key(request: web.Request) -> web.Response:
    """GET /v1/keys/{key_id}"""
    _admin(request)
    return json_answer(_shown(request))


async def change_key(request: web.Request) -> web.Response:
    """PATCH /v1/keys/{key_id}: members that are left out stay as they are."""
    api = request.app[API]
    _admin(request)
    patch = parse_json(await read_body(request, api.settings.max_field_bytes), KeyPatch)
    changes = patch.changes()
    try:
        await api.keys.change(_id(request), lambda key: key.evolve(**changes))
    except (UnknownKey, KeyEnded) as error:
        raise _problem(error) from error
    return json_answer(_shown(request))


async def revoke_key(request: web.Request) -> web.Response:
    """DELETE /v1/keys/{key_id}: refused from now on, for good, by all APIs within a second."""
    try:
        await request.app[API].keys.revoke(_id(request), _admin(request).name)
    except UnknownKey as error:
        raise _problem(error) from error
    return web.Response(status=204)


async def rotate_key(request: web.Request) -> web.Response:
    """POST /v1/keys/{key_id}/rotate: the answer has another secret, this once."""
    api = request.app[API]
    _admin(request)
    sent = await read_body(request, api.settings.max_field_bytes)
    body = parse_json(sent or b"{}", RotateBody)
    try:
        key, secret = await api.keys.rotate(_id(request), body.overlap_s)
    except (UnknownKey, KeyEnded) as error:
        raise _problem(error) from error
    return json_answer(_with_secret(api, key, secret), headers=_UNCACHED)


def _admin(request: web.Request) -> Caller:
    """Return the caller, whose scopes were checked.

    Raises:
        Problem: 403 where anyone may call: the first key locks the API, and a page in a browser of
            this machine, or anybody on the network, could make it.
    """
    caller = caller_of(request)
    if caller is ANYONE:
        raise Problem(
            403,
            "keys_need_admin",
            "This API has no key yet; make the first one with `imagemill keys create --name first "
            "--admin` where it runs.",
        )
    return caller


def _id(request: web.Request) -> str:
    return request.match_info["key_id"]


def _shown(request: web.Request) -> dict[str, Any]:
    api = request.app[API]
    try:
        known = api.keys.known(_id(request))
    except UnknownKey as error:
        raise _problem(error) from error
    return KeyDocument.of(known, api.key_ring).model_dump(mode="json")


def _with_secret(api: Api, key: AccessKey, secret: str) -> dict[str, Any]:
    shown = KeyDocument.of(api.keys.known(key.key_id), api.key_ring)
    return shown.model_dump(mode="json") | {"secret": secret}


def _problem(error: UnknownKey | KeyEnded) -> Problem:
    if isinstance(error, KeyEnded):
        return Problem(409, "key_revoked", str(error))
    return Problem(404, "not_found", str(error))


_CREATED = Docs(body=KeyBody, answers={201: NewKeyDocument})
_LISTED = Docs(answers={200: KeyList})
_READ = Docs(answers={200: KeyDocument})
_CHANGED = Docs(body=KeyPatch, answers={200: KeyDocument})
_REVOKED = Docs(answers={204: None})
_ROTATED = Docs(body=RotateBody, answers={200: NewKeyDocument})
_ONE = "/v1/keys/{key_id}"

ROUTES = (
    Route("POST", "/v1/keys", create_key, "Create an API key", "keys", _CREATED),
    Route("GET", "/v1/keys", list_keys, "List API keys", "keys", _LISTED),
    Route("GET", _ONE, get_key, "Read an API key", "keys", _READ),
    Route("PATCH", _ONE, change_key, "Change an API key", "keys", _CHANGED),
    Route("DELETE", _ONE, revoke_key, "Revoke an API key", "keys", _REVOKED),
    Route("POST", f"{_ONE}/rotate", rotate_key, "Give an API key a new secret", "keys", _ROTATED),
)
