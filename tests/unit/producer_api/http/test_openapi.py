"""The OpenAPI document: valid, complete, and what is kept in docs/."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from producer_api.app import ROUTES
from producer_api.describe import document
from producer_api.http.job_documents import JobDocument
from producer_api.http.openapi import openapi_document
from producer_api.read_model.records import JobRecord
from schemas.jobs import Step
from tests.support.messages import submitted

DOCS = Path(__file__).parents[4] / "docs" / "openapi.json"


def test_it_is_valid() -> None:
    validate(openapi_document(ROUTES))


def test_every_route_is_in_it() -> None:
    paths = openapi_document(ROUTES)["paths"]
    assert sum(map(len, paths.values())) == len(ROUTES)
    assert "/files/{key}" in paths
    assert {"post", "get"} <= set(paths["/v1/jobs"])


def test_operation_ids_are_unique() -> None:
    ids = [
        operation["operationId"]
        for methods in openapi_document(ROUTES)["paths"].values()
        for operation in methods.values()
    ]
    assert len(ids) == len(set(ids))


def test_the_kept_document_is_this_one() -> None:
    assert json.loads(DOCS.read_bytes()) == json.loads(document()), (
        "run `python -m producer_api.describe docs/openapi.json`"
    )


@pytest.mark.parametrize("fields", [{}, {"pipeline": (Step(operation="noop"),), "template": "x"}])
def test_jobs_are_as_it_says(fields: dict) -> None:
    record = JobRecord.of_submission(submitted("job-00001", total=2, **fields))
    JobDocument.model_validate(JobDocument.of(record))
