"""Every parameter of every route is known to name something of an owner, or nothing."""

from __future__ import annotations

import pytest

from producer_api.access.scopes import SCOPES
from producer_api.app import ROUTES
from producer_api.http.openapi import openapi_document
from tests.support.references import Operation, operations_of

OPERATIONS = list(operations_of(openapi_document(ROUTES, SCOPES)))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_parameters_of_a_route_are_listed(operation: Operation) -> None:
    assert not operation.unlisted(), "list these in tests/support/references.py"
