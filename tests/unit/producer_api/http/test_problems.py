"""Failures of other layers as the API answers them."""

from __future__ import annotations

from producer_api.http.problems import as_problem
from producer_api.read_model.errors import ReadModelBehind


def test_a_read_model_that_is_behind_is_a_503_to_try_again() -> None:
    problem = as_problem(ReadModelBehind())
    assert problem is not None
    assert (problem.status, problem.code) == (503, "projection_behind")
    assert problem.headers == {"Retry-After": "2"}
    assert "Try again" in problem.detail
