"""The OpenAPI document is valid, complete, and true of the answers."""

from __future__ import annotations

import pytest
from openapi_spec_validator import validate

from producer_api.access.scopes import SCOPES
from producer_api.app import ROUTES
from producer_api.http.job_documents import JobDocument
from producer_api.http.openapi import openapi_document
from producer_api.read_model.records import JobRecord
from schemas.jobs import Step
from tests.support.messages import submitted


def test_it_is_valid() -> None:
    validate(openapi_document(ROUTES, SCOPES))


def test_every_route_is_in_it() -> None:
    paths = openapi_document(ROUTES, SCOPES)["paths"]
    assert sum(map(len, paths.values())) == len(ROUTES)
    assert "/files/{key}" in paths
    assert {"post", "get"} <= set(paths["/v1/jobs"])


def test_operation_ids_are_unique() -> None:
    ids = [
        operation["operationId"]
        for methods in openapi_document(ROUTES, SCOPES)["paths"].values()
        for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("fields", [{}, {"pipeline": (Step(operation="noop"),), "template": "x"}])
def test_jobs_are_as_it_says(fields: dict) -> None:
    record = JobRecord.of_submission(submitted("job-00001", total=2, **fields))
    JobDocument.model_validate(JobDocument.of(record))


def test_each_operation_names_the_scopes_that_it_needs() -> None:
    paths = openapi_document(ROUTES, SCOPES)["paths"]

    assert paths["/v1/jobs"]["post"]["security"] == [
        {"bearer": ["jobs:write"]},
        {"header": ["jobs:write"]},
    ]
    assert paths["/healthz"]["get"]["security"] == []
