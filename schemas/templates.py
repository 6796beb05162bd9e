"""Templates: named operations with params, as the topic `templates` holds them by their keys."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from schemas.base import Array, Strict

# Levels of nesting in JSON that clients make up. Readers and writers of JSON differ in how deep
# they go, and an event nests it a few levels deeper.
MAX_JSON_DEPTH = 32
MAX_STEPS = 16
# Without a slash, since that separates an owner from the name on the topic.
TEMPLATE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_NAME = re.compile(TEMPLATE_NAME.strip("^$"))


def is_template_name(text: str) -> bool:
    """Return whether a template may have this name."""
    return _NAME.fullmatch(text) is not None


def template_key(owner: str | None, name: str) -> str:
    """Return the message key of a template: its name, or "owner/name" if it belongs to one."""
    return name if owner is None else f"{owner}/{name}"


def owner_of_template(key: str) -> tuple[str | None, str]:
    """Return the owner, None for a shared template, and the name of a message key."""
    owner, slash, name = key.rpartition("/")
    return (owner if slash else None), name


def shallow(value: dict[str, Any]) -> dict[str, Any]:
    """Return the object; raise ValueError if it nests deeper than MAX_JSON_DEPTH levels."""
    if not _within(value, MAX_JSON_DEPTH):
        raise ValueError(f"nested more than {MAX_JSON_DEPTH} levels deep")
    return value


def _within(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return levels > 0 and all(_within(inner, levels - 1) for inner in value)


# JSON whose members the client chooses; bounded, so that every reader of a job can read it.
FreeJson = Annotated[dict[str, Any], AfterValidator(shallow)]


class StepBody(Strict):
    """One operation of a pipeline; a bare name stands for the operation without params."""

    operation: str = Field(description="Name of the operation, as `GET /v1/operations` lists it.")
    params: FreeJson = Field(
        default_factory=dict, description="Params of the operation; those left out are defaults."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"operation": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add the bare name to the schema."""
        return {
            "anyOf": [{"type": "string"}, super().__get_pydantic_json_schema__(schema, handler)]
        }


class Template(Strict):
    """A named operation, or pipeline, with params; jobs refer to it by `template`."""

    operation: str | None = Field(None, description="Name of the operation; null for a pipeline.")
    operations: Array[StepBody] = Field(
        (),
        max_length=MAX_STEPS,
        description=f"Operations of a pipeline, in order, {MAX_STEPS} at most; else empty.",
    )
    params: FreeJson = Field(
        default_factory=dict,
        description="Params of the operation; those of a job override them one by one.",
    )
    description: str = Field(
        "", max_length=1000, description="Text for people, 1000 characters at most."
    )
