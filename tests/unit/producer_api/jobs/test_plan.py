"""Operations of a job, by name, as a pipeline, and from a template."""

from __future__ import annotations

import orjson
import pytest

from producer_api.http.forms import SubmitBody
from producer_api.http.problems import Problem
from producer_api.jobs.plan import PIPELINE, resolve_operations
from schemas.templates import Template


def problem_of(call: object, *arguments: object) -> Problem:
    with pytest.raises(Problem) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def planned(template: Template | None = None, **body: object):
    return resolve_operations(SubmitBody.model_validate(body), template)


def test_params_are_kept_in_normal_form_without_defaults() -> None:
    plan = planned(operation="detect-objects", params={"confidence": 1, "max_detections": 5.0})
    assert orjson.dumps(plan.params) == b'{"confidence":1.0,"max_detections":5}'
    assert planned(operation="detect-objects").params == {}


def test_bad_params_are_named_each() -> None:
    problem = problem_of(
        lambda: planned(operation="detect-objects", params={"confidence": 7, "iou": "x"})
    )
    assert (problem.status, problem.code) == (422, "params_invalid")
    fields = [error["field"] for error in problem.members["errors"]]
    assert fields == ["params.confidence", "params.iou"]


def test_unknown_params_are_named() -> None:
    problem = problem_of(lambda: planned(operation="detect-objects", params={"sharpness": 7}))
    assert problem.status == 422
    assert "params.sharpness" in problem.detail


def test_an_unknown_operation_is_told_with_those_there_are() -> None:
    problem = problem_of(lambda: planned(operation="make-coffee"))
    assert (problem.status, problem.code) == (422, "operation_unknown")
    assert "detect-objects" in problem.detail


def test_without_an_operation_there_is_no_job() -> None:
    assert problem_of(planned).code == "operation_missing"


def test_several_operations_are_a_pipeline() -> None:
    plan = planned(
        operations=["remove-background", {"operation": "read-text", "params": {"find": "a"}}]
    )
    assert plan.operation == PIPELINE
    assert [step.operation for step in plan.pipeline] == ["remove-background", "read-text"]
    assert plan.pipeline[1].params == {"find": "a"}


def test_one_operation_in_a_list_is_no_pipeline() -> None:
    plan = planned(operations=[{"operation": "read-text", "params": {"find": "a"}}])
    assert (plan.operation, plan.params, plan.pipeline) == ("read-text", {"find": "a"}, ())


def test_a_bad_step_is_named_by_its_number() -> None:
    problem = problem_of(
        lambda: planned(
            operations=["read-text", {"operation": "read-text", "params": {"find": ""}}]
        )
    )
    assert problem.members["errors"][0]["field"] == "operations.1.params.find"


def test_params_beside_a_template_override_its_own() -> None:
    template = Template(operation="detect-objects", params={"confidence": 0.3, "iou": 0.2})
    plan = planned(template, params={"iou": 0.9})
    assert plan.operation == "detect-objects"
    assert plan.params == {"confidence": 0.3, "iou": 0.9}
