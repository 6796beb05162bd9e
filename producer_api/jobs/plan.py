"""Operations of a job: found by name or by template, with checked params."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from producer_api.access.visible import VisibleJobs
from producer_api.http.forms import SubmitBody, validation_problem
from producer_api.http.problems import Problem, field_problem, quoted
from schemas.catalog import find_operation, operations
from schemas.errors import ErrorCode
from schemas.jobs import Step
from schemas.operations import OperationSpec
from schemas.templates import StepBody, Template

# The operation of a job of several, in lists and events; its pipeline has their names.
PIPELINE = "pipeline"


@dataclass(frozen=True)
class ResolvedOperations:
    """The operations to run on each image; `params` are those of a single operation."""

    operation: str
    params: dict[str, Any] = field(default_factory=dict)
    pipeline: tuple[Step, ...] = ()
    needs_image: bool = True


async def find_template(jobs: VisibleJobs, name: str | None) -> Template | None:
    """Return the caller's template of that name; None for no name. Raises as ReadModel.template.

    Raises:
        Problem: 422 when there is no such template.
    """
    if name is None:
        return None
    template = await jobs.template(name)
    if template is None:
        raise field_problem("template", f"there is no template {quoted(name)}", code="not_found")
    return template


def resolve_operations(body: SubmitBody, template: Template | None) -> ResolvedOperations:
    """Resolve the operations of a request. Params beside a template override the template's.

    Raises:
        Problem: 422 naming the operation or the param that does not fit.
    """
    single, several = body.operation, body.operations
    params = body.params
    if template is not None and not single and not several:
        single, several = template.operation, template.operations
        params = template.params | params
    if single and several:
        raise Problem(422, "fields_invalid", "Give either operation or operations, not both.")
    if several:
        return _resolve_pipeline(several, params)
    if not single:
        raise Problem(
            422, "operation_missing", f"Say which operation to run: one of {_names()}.",
            errors=[{"field": "operation", "message": "missing"}],
        )  # fmt: skip
    spec = _known_operation(single, "operation")
    return ResolvedOperations(
        single, _check_params(spec, params, "params"), needs_image=spec.inputs == "image"
    )


def _resolve_pipeline(several: Sequence[StepBody], params: dict[str, Any]) -> ResolvedOperations:
    if params:
        raise Problem(
            422, "fields_invalid", "With operations, give the params of each step in its step.",
            errors=[{"field": "params", "message": "not taken beside operations"}],
        )  # fmt: skip
    steps, needs_image = [], False
    for number, step in enumerate(several):
        spec = _known_operation(step.operation, f"operations.{number}.operation")
        checked = _check_params(spec, step.params, f"operations.{number}.params")
        steps.append(Step(operation=step.operation, params=checked))
        needs_image = needs_image or spec.inputs == "image"
    if len(steps) == 1:
        return ResolvedOperations(steps[0].operation, steps[0].params, needs_image=needs_image)
    return ResolvedOperations(PIPELINE, {}, tuple(steps), needs_image)


def _known_operation(name: str, field_name: str) -> OperationSpec:
    """Return the operation of that name. Raises Problem (422) naming those that there are."""
    spec = find_operation(name)
    if spec is None:
        raise Problem(
            422, str(ErrorCode.OPERATION_UNKNOWN),
            f"There is no operation {quoted(name)}; there are {_names()}.",
            errors=[{"field": field_name, "message": "no such operation"}],
        )  # fmt: skip
    return spec


def _check_params(spec: OperationSpec, params: dict[str, Any], field_name: str) -> dict[str, Any]:
    """Return the params in their normal form, without those left at their defaults.

    Raises:
        Problem: 422 naming each param that does not fit.
    """
    try:
        checked = spec.params.model_validate(params)
    except ValidationError as error:
        raise validation_problem(error, field_name, str(ErrorCode.PARAMS_INVALID)) from error
    return checked.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _names() -> str:
    return ", ".join(sorted(operations()))
