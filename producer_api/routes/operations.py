"""Operations, with the JSON Schema of their params, and models."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from producer_api.context import API
from producer_api.http.documents import ModelList, OperationList
from producer_api.http.query import json_answer
from producer_api.http.routing import Docs, Route
from producer_api.routes.stats import workers_view
from schemas.catalog import operations
from schemas.workers import KnownModel


@cache
def operations_view() -> list[dict[str, Any]]:
    """Return all operations by name; they do not change while the process runs."""
    return [
        {
            "name": spec.name,
            "summary": spec.summary,
            "inputs": spec.inputs,
            "params": spec.params.model_json_schema(),
        }
        for _, spec in sorted(operations().items())
    ]


async def list_operations(_request: web.Request) -> web.Response:
    """GET /v1/operations"""
    return json_answer({"operations": operations_view()})


def models_view(beats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the models that alive workers report, by name, with the workers that have the file."""
    models: dict[str, dict[str, Any]] = {}
    for beat in beats:
        for model in _models_of(beat) if beat["alive"] else ():
            known = models.setdefault(model["name"], model | {"here": False, "workers": []})
            if model["here"]:
                known["here"] = True
                known["workers"].append(beat["worker_id"])
    return [models[name] for name in sorted(models)]


def _models_of(beat: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the valid models of a heartbeat, which anyone may have written."""
    listed = beat.get("models")
    for model in listed if isinstance(listed, list) else ():
        try:
            KnownModel.model_validate(model)
        except ValidationError:
            continue
        yield {"here": False} | model


async def list_models(request: web.Request) -> web.Response:
    """GET /v1/models: those that alive workers report."""
    return json_answer({"models": models_view(workers_view(request.app[API]))})


_DOCS = Docs(answers={200: OperationList})
_MODEL_DOCS = Docs(answers={200: ModelList})

ROUTES = (
    Route("GET", "/v1/operations", list_operations, "What can be asked for", "operations", _DOCS),
    Route("GET", "/v1/models", list_models, "Models that workers know", "operations", _MODEL_DOCS),
)
