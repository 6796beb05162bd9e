"""Templates: named operations with params, kept on a compacted topic."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from producer_api.context import API, Api, jobs_of
from producer_api.http.body import read_body
from producer_api.http.documents import AnyDocument
from producer_api.http.forms import SubmitBody, parse_json
from producer_api.http.problems import Problem
from producer_api.http.query import json_answer
from producer_api.http.routing import Docs, Route
from producer_api.jobs.plan import resolve_operations
from schemas import topics
from schemas.templates import TEMPLATE_NAME, Template


class TemplateBody(Template):
    """A template with its name."""

    name: str = Field(
        pattern=TEMPLATE_NAME, description="name of the template, for `template` of a job"
    )


async def create_template(request: web.Request) -> web.Response:
    """POST /v1/templates: 409 when another one has the name."""
    api = request.app[API]
    body = await _read(request, api)
    template = Template.model_validate(body.model_dump(exclude={"name"}))
    jobs = jobs_of(request)
    existing = await jobs.own_template(body.name)
    if existing is not None and existing != template:
        raise Problem(
            409, "template_exists", f"There is another template {body.name}; delete it first."
        )
    document = template.model_dump_json(exclude_defaults=True).encode()
    await _publish(api, jobs.template_key(body.name), document)
    headers = {"Location": f"/v1/templates/{body.name}"}
    return json_answer(_view(body.name, template), status=201, headers=headers)


async def _read(request: web.Request, api: Api) -> TemplateBody:
    body = parse_json(await read_body(request, api.settings.max_field_bytes), TemplateBody)
    # A template that no job could use is refused now, and not when the first job names it.
    asked = body.model_dump(include={"operation", "operations", "params"})
    resolve_operations(SubmitBody.model_validate(asked), None)
    return body


async def list_templates(request: web.Request) -> web.Response:
    """GET /v1/templates"""
    found = await jobs_of(request).templates()
    return json_answer({"templates": [_view(name, found[name]) for name in found]})


async def get_template(request: web.Request) -> web.Response:
    """GET /v1/templates/{name}"""
    name = request.match_info["name"]
    template = await jobs_of(request).template(name)
    if template is None:
        raise _unknown(name)
    return json_answer(_view(name, template))


async def delete_template(request: web.Request) -> web.Response:
    """DELETE /v1/templates/{name}: jobs made from it go on.

    403 for a shared template, unless the caller sees every owner's jobs.
    """
    jobs = jobs_of(request)
    name = request.match_info["name"]
    if await jobs.own_template(name) is None:
        if await jobs.template(name) is None:
            raise _unknown(name)
        raise Problem(
            403, "template_shared", f"Template {name} is shared; only an administrator deletes it."
        )
    await _publish(request.app[API], jobs.template_key(name), None)
    return web.Response(status=204)


def _unknown(name: str) -> Problem:
    return Problem(404, "not_found", f"There is no template {name[:64]}.")


async def _publish(api: Api, key: str, document: bytes | None) -> None:
    """Write a template, or its tombstone, and wait until this process has read it."""
    headers = [("content-type", b"application/json")]
    await api.producer.send(
        api.settings.topic(topics.TEMPLATES.name), key.encode(), document, headers
    )
    await api.read_model.catch_up()


def _view(name: str, template: Template) -> dict[str, Any]:
    return {"name": name} | template.model_dump(mode="json")


_CREATED = Docs(body=TemplateBody, answers={201: TemplateBody})
_READ = Docs(answers={200: TemplateBody})
_LISTED = Docs(answers={200: AnyDocument})
_DELETED = Docs(answers={204: None})
_ONE = "/v1/templates/{name}"

ROUTES = (
    Route("POST", "/v1/templates", create_template, "Create a template", "templates", _CREATED),
    Route("GET", "/v1/templates", list_templates, "List templates", "templates", _LISTED),
    Route("GET", _ONE, get_template, "Read a template", "templates", _READ),
    Route("DELETE", _ONE, delete_template, "Delete a template", "templates", _DELETED),
)
