"""What can be asked for: every operation with the JSON Schema of its params."""

from __future__ import annotations

from functools import cache
from typing import Any

from aiohttp import web

from producer_api.documents import OperationList
from producer_api.requests import json_answer
from producer_api.routing import Docs, Route
from schemas.operations import operations


@cache
def operations_view() -> list[dict[str, Any]]:
    """All operations by name; they do not change while the process runs."""
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


_DOCS = Docs(answers={200: OperationList})

ROUTES = (
    Route("GET", "/v1/operations", list_operations, "What can be asked for", "operations", _DOCS),
)
