"""The request body as the native API takes it: one model for JSON and for form fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from imagemill.net.url import parse_url
from producer_api.http.problems import Problem, field_problem
from schemas.jobs import CLIENT_JOB_ID, Priority, WebhookEvent
from schemas.templates import MAX_JSON_DEPTH, MAX_STEPS, FreeJson, StepBody

Model = TypeVar("Model", bound=BaseModel)
_JSON_FIELDS = frozenset({"params", "metadata", "operations"})
FIELDS = frozenset(
    {
        "operation",
        "operations",
        "params",
        "priority",
        "webhook_url",
        "template",
        "metadata",
        "expires_in",
        "image_url",
    }
)


def http_url(text: str) -> str:
    """Return the URL as it is; raise ValueError if its form is not that of one to fetch or post to.

    Its address is checked when it is used, since a name can resolve to another one by then.
    """
    parse_url(text)
    return text


HttpUrl = Annotated[str, AfterValidator(http_url)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputBody(_Body):
    """An image that the server fetches, or one uploaded before through /v1/uploads."""

    url: HttpUrl | None = None
    upload_id: str | None = Field(None, pattern=CLIENT_JOB_ID)
    filename: str | None = Field(None, max_length=255)

    @model_validator(mode="after")
    def _one_source(self) -> InputBody:
        if (self.url is None) == (self.upload_id is None):
            raise ValueError("give either url or upload_id")
        return self


class WebhookBody(_Body):
    """Where to post the job's events."""

    url: HttpUrl
    events: tuple[WebhookEvent, ...] = Field((WebhookEvent.FINISHED,), min_length=1)


class SubmitBody(_Body):
    """What is asked for, but for the files that come as form parts."""

    operation: str | None = Field(None, description="name of the operation")
    operations: tuple[StepBody, ...] = Field(
        (),
        max_length=MAX_STEPS,
        description="several operations, run one after the other on each image",
    )
    params: FreeJson = Field(default_factory=dict, description="params of the operation")
    inputs: tuple[InputBody, ...] = ()
    priority: Priority | None = None
    webhook: WebhookBody | None = None
    template: str | None = None
    metadata: FreeJson = Field(
        default_factory=dict,
        description=f"kept and given back; nested {MAX_JSON_DEPTH} levels deep at most",
    )
    expires_in: int | None = Field(
        None, ge=1, description="seconds after which the job and its files may be removed"
    )


def parse_json(raw: bytes, model: type[Model]) -> Model:
    """The body of a JSON request.

    Raises:
        Problem: 400 when it is no JSON object, 422 naming the fields that do not fit.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "body_invalid", f"The body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Problem(400, "body_invalid", "The body must be a JSON object.")
    return validate(document, model)


def from_fields(fields: Mapping[str, Sequence[str]]) -> SubmitBody:
    """The body of a form request, from its fields that are no files.

    Raises:
        Problem: 422 naming the field.
    """
    document: dict[str, Any] = {}
    for name, values in fields.items():
        if name == "image_url":
            document["inputs"] = [{"url": value} for value in values]
            continue
        if len(values) > 1:
            raise field_problem(name, "given more than once", code="fields_invalid")
        value = values[0]
        if name == "webhook_url":
            document["webhook"] = {"url": value}
        elif name in _JSON_FIELDS:
            document[name] = _json_field(name, value)
        else:
            document[name] = value
    return validate(document, SubmitBody)


def _json_field(name: str, value: str) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise field_problem(name, f"not valid JSON ({error})", code=f"{name}_invalid") from error


def validate(document: dict[str, Any], model: type[Model]) -> Model:
    """The document as that model; a 422 Problem names every field that does not fit."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise validation_problem(error, "", "fields_invalid") from error


def validation_problem(error: ValidationError, prefix: str, code: str) -> Problem:
    """A 422 that lists what pydantic found, each under the field's path."""
    unknown, errors = [], []
    for entry in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in entry["loc"])
        field = ".".join(part for part in (prefix, path) if part) or "body"
        message = entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            unknown.append(field)
            message = "unknown field"
        errors.append({"field": field, "message": message})
    if unknown and len(unknown) == len(errors):
        return unknown_fields(unknown)
    first = errors[0]
    return Problem(422, code, f"{first['field']}: {first['message']}", errors=errors)


def unknown_fields(names: Sequence[str]) -> Problem:
    """A 422 that names fields this server does not know."""
    listed = ", ".join(names)
    return Problem(
        422,
        "fields_unknown",
        f"Unknown field{'s' if len(names) > 1 else ''}: {listed}. Nothing was queued.",
        errors=[{"field": name, "message": "unknown field"} for name in names],
    )
