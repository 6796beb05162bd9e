"""The OpenAPI 3.1 document, made from the route table and the models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from imagemill import __version__
from producer_api.http.documents import ProblemDocument
from producer_api.http.routing import PLACEHOLDER, TEXT, Docs, Route
from schemas.access import Scope

_REFERENCE = "#/components/schemas/{model}"
_DESCRIPTION = """\
Images in over HTTP, models run on them as a stream on Apache Kafka.

Values are taken as documented, and never converted: a number in a query or a form is written in \
decimal digits, a time has a zone, and a field, a query parameter or a JSON member that is given \
twice is refused. Bodies may have the content coding gzip or deflate; another one is answered 415.

Every error of `/v1` is a problem document (RFC 9457). Files are answered with an `ETag` and \
`Last-Modified`; conditional requests and byte ranges work as RFC 9110 says, where several ranges \
are answered with the whole file."""


# The forms that a key may be sent in everywhere; docs/access.md has those that a setting allows.
_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key `im_...`, or a token of the OIDC issuer where one is set. "
        "Needed as soon as there is a key, and wherever the network reaches the API.",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, where the header Authorization cannot be used.",
    },
}


def openapi_document(
    routes: Iterable[Route], scopes: Mapping[str, Iterable[Scope]]
) -> dict[str, Any]:
    """Return the document of these routes; the same routes give the same document.

    `scopes` are those that callers need by operation id, none for a public operation.
    """
    table = list(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        path = PLACEHOLDER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(
            route, sorted(scopes[route.operation_id])
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imagemill",
            "version": __version__,
            "description": _DESCRIPTION,
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in table)],
        "paths": paths,
        "components": {"schemas": _schemas(table), "securitySchemes": _SECURITY_SCHEMES},
    }


def _schemas(routes: list[Route]) -> dict[str, Any]:
    models = {ProblemDocument}
    for route in routes:
        models.update(answer for answer in route.docs.answers.values() if _is_model(answer))
        if route.docs.body is not None:
            models.add(route.docs.body)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template=_REFERENCE
    )
    return schema["$defs"]


def _is_model(answer: object) -> bool:
    return isinstance(answer, type) and issubclass(answer, BaseModel)


def _operation(route: Route, scopes: list[Scope]) -> dict[str, Any]:
    docs = route.docs
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *(_parameter("path", name, TEXT, True) for name in PLACEHOLDER.findall(route.path)),
            *(_parameter("query", name, schema) for name, schema in docs.query.items()),
            *(_parameter("header", name, schema) for name, schema in docs.headers.items()),
        ],
        "responses": _responses(docs),
        "security": [{name: scopes} for name in _SECURITY_SCHEMES] if scopes else [],
    }
    # The first line of a handler's docstring repeats the route.
    _, _, description = (route.handler.__doc__ or "").partition("\n")
    if description.strip():
        operation["description"] = " ".join(description.split())
    if content := _request(docs):
        operation["requestBody"] = {"content": content, "required": True}
    return operation


def _parameter(where: str, name: str, schema: Any, required: bool = False) -> dict[str, Any]:
    return {"in": where, "name": name, "required": required, "schema": dict(schema)}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _request(docs: Docs) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if docs.form:
        properties = {name: dict(schema) for name, schema in docs.form.items()}
        content["multipart/form-data"] = {"schema": {"type": "object", "properties": properties}}
    if docs.body is not None:
        content["application/json"] = {"schema": _reference(docs.body)}
    return content


def _responses(docs: Docs) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in (docs.answers or {200: "application/json"}).items():
        response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if isinstance(answer, str):
            response["content"] = {answer: {}}
        elif answer is not None:
            response["content"] = {"application/json": {"schema": _reference(answer)}}
        if status in docs.media:
            response.setdefault("content", {})[docs.media[status]] = {}
        responses[str(status)] = response
    responses["default"] = {
        "description": "A problem",
        "content": {"application/problem+json": {"schema": _reference(ProblemDocument)}},
    }
    return responses
