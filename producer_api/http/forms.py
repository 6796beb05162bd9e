"""Request bodies of the native API: one model for JSON and for form fields."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic import Strict as StrictMode

from imagemill.net.url import parse_url
from producer_api.http.problems import Problem, field_problem
from producer_api.http.query import whole_number
from schemas.base import Array, Strict, given
from schemas.jobs import CLIENT_JOB_ID, JOB_EVENTS, Priority, WebhookEvent
from schemas.templates import MAX_JSON_DEPTH, MAX_STEPS, FreeJson, StepBody

Model = TypeVar("Model", bound=BaseModel)
Member = TypeVar("Member")
# A member of an enum by its JSON value, which pydantic's strict mode takes from JSON text alone.
JsonEnum = Annotated[Member, StrictMode(False)]


def http_url(text: str) -> str:
    """Return the URL as it is; raise ValueError if its form is not that of one to fetch or post to.

    Its address is checked when it is used, since a name can resolve to another one by then.
    """
    parse_url(text)
    return text


HttpUrl = Annotated[str, AfterValidator(http_url)]


class InputBody(Strict):
    """An image that the server fetches, or one uploaded before through /v1/uploads."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given("url"), given("upload_id")]})

    url: HttpUrl | None = Field(None, description="URL of an image, fetched by the worker.")
    upload_id: str | None = Field(
        None, pattern=CLIENT_JOB_ID, description="Id that `POST /v1/uploads` answered."
    )
    filename: str | None = Field(
        None, max_length=255, description="Name of the image for people, in results and downloads."
    )

    @model_validator(mode="after")
    def _one_source(self) -> InputBody:
        if (self.url is None) == (self.upload_id is None):
            raise ValueError("give either url or upload_id")
        return self


def _job_event(event: WebhookEvent) -> WebhookEvent:
    if event not in JOB_EVENTS:
        raise ValueError(f"{event} is posted to endpoints of /v1/webhooks only")
    return event


_JobEvent = Annotated[
    WebhookEvent,
    StrictMode(False),
    AfterValidator(_job_event),
    WithJsonSchema({"type": "string", "enum": [event.value for event in JOB_EVENTS]}),
]


class WebhookBody(Strict):
    """The URL to post the job's events to."""

    url: HttpUrl = Field(description="Absolute http or https URL.")
    events: Array[_JobEvent] = Field(
        (WebhookEvent.FINISHED,), min_length=1, description="Events to post; the end by default."
    )


class SubmitBody(Strict):
    """The request for a job, without the files that come as form parts."""

    operation: str | None = Field(None, description="name of the operation")
    operations: Array[StepBody] = Field(
        (),
        max_length=MAX_STEPS,
        description="several operations, run one after the other on each image",
    )
    params: FreeJson = Field(default_factory=dict, description="params of the operation")
    inputs: Array[InputBody] = Field((), description="images that are not sent with the request")
    priority: JsonEnum[Priority] | None = Field(
        None, description="queue that the job waits in; normal by default"
    )
    webhook: WebhookBody | None = Field(None, description="where to post the job's events")
    template: str | None = Field(None, description="name of a template to take operations from")
    metadata: FreeJson = Field(
        default_factory=dict,
        description=f"kept and given back; nested {MAX_JSON_DEPTH} levels deep at most",
    )
    expires_in: int | None = Field(
        None, ge=1, description="seconds after which the job and its files may be removed"
    )


# Form fields that stand for a field of SubmitBody under another name.
_FORM_NAMES = {"inputs": "image_url", "webhook": "webhook_url"}
# Fields that a form may have: those of the JSON body, under their names in a form.
FIELDS = frozenset(_FORM_NAMES.get(name, name) for name in SubmitBody.model_fields)


def _types(name: str) -> set[str]:
    """Return the JSON types of a field by its published schema; none for an enum of strings."""
    schema = _SUBMIT_SCHEMA["properties"][name]
    return {kind["type"] for kind in schema.get("anyOf", [schema]) if "type" in kind}


_SUBMIT_SCHEMA = SubmitBody.model_json_schema()
# Form fields whose text is JSON, and those whose text is a number.
_JSON_FIELDS = frozenset(
    name
    for name in FIELDS & _SUBMIT_SCHEMA["properties"].keys()
    if _types(name) & {"object", "array"}
)
_NUMBER_FIELDS = frozenset(
    name for name in FIELDS & _SUBMIT_SCHEMA["properties"].keys() if "integer" in _types(name)
)


def parse_json(raw: bytes, model: type[Model]) -> Model:
    """Read the body of a JSON request.

    Raises:
        Problem: 400 when it is no JSON object, 422 naming the fields that do not fit.
    """
    try:
        document = _load(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "body_invalid", f"The body is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Problem(400, "body_invalid", "The body must be a JSON object.")
    return validate(document, model)


def from_fields(fields: Mapping[str, Sequence[str]]) -> SubmitBody:
    """Read the body of a form request from its fields that are no files.

    Raises:
        Problem: 422 naming the field.
    """
    document: dict[str, Any] = {}
    for name, values in fields.items():
        if name == "image_url":
            document["inputs"] = [{"url": value} for value in values]
            continue
        if len(values) > 1:
            raise _given_twice(name)
        value = values[0]
        if name == "webhook_url":
            document["webhook"] = {"url": value}
        elif name in _JSON_FIELDS:
            document[name] = _json_field(name, value)
        elif name in _NUMBER_FIELDS:
            number = whole_number(value)
            document[name] = value if number is None else number
        else:
            document[name] = value
    return validate(document, SubmitBody)


def _json_field(name: str, value: str) -> Any:
    try:
        return _load(value)
    except orjson.JSONDecodeError as error:
        raise field_problem(name, f"not valid JSON ({error})", code=f"{name}_invalid") from error


def _load(raw: bytes | str) -> Any:
    """Read JSON; a member that an object has twice is a Problem (422), not the last of both.

    Raises:
        orjson.JSONDecodeError: it is not valid JSON.
    """
    document = orjson.loads(raw)
    # orjson, which is stricter elsewhere, keeps the last of two members of one name silently.
    with contextlib.suppress(RecursionError):
        json.loads(raw, object_pairs_hook=_refuse_twins)
    return document


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise _given_twice(name)
        names.add(name)


def _given_twice(name: str) -> Problem:
    return field_problem(name, "given more than once", code="fields_invalid")


def validate(document: dict[str, Any], model: type[Model]) -> Model:
    """Return the document as that model.

    Raises:
        Problem: 422 naming every field that does not fit.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise validation_problem(error, "", "fields_invalid") from error


# Texts for errors that pydantic states with Python's types.
_JSON_WORDS = {
    "dict_type": "Input should be a JSON object",
    "model_type": "Input should be a JSON object",
    "tuple_type": "Input should be a JSON array",
    "list_type": "Input should be a JSON array",
}


def validation_problem(error: ValidationError, prefix: str, code: str) -> Problem:
    """Make a 422 that lists the errors pydantic found, each under the field's path."""
    unknown, errors = [], []
    for entry in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in entry["loc"])
        field = ".".join(part for part in (prefix, path) if part) or "body"
        message = _JSON_WORDS.get(entry["type"]) or entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            unknown.append(field)
            message = "unknown field"
        errors.append({"field": field, "message": message})
    if unknown and len(unknown) == len(errors):
        return unknown_fields(unknown)
    first = errors[0]
    return Problem(422, code, f"{first['field']}: {first['message']}", errors=errors)


def unknown_fields(names: Sequence[str]) -> Problem:
    """Make a 422 that names fields this server does not know."""
    listed = ", ".join(names)
    return Problem(
        422,
        "fields_unknown",
        f"Unknown field{'s' if len(names) > 1 else ''}: {listed}. Nothing was queued.",
        errors=[{"field": name, "message": "unknown field"} for name in names],
    )
