"""Templates: named operations with params, as the topic `templates` holds them by name."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

# Levels of nesting in JSON that clients make up. Readers and writers of JSON differ in how deep
# they go, and an event nests it a few levels deeper.
MAX_JSON_DEPTH = 32
MAX_STEPS = 16


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


class StepBody(BaseModel):
    """One operation of a pipeline; a bare name stands for the operation without params."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: str
    params: FreeJson = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"operation": value} if isinstance(value, str) else value


class Template(BaseModel):
    """A named operation, or pipeline, with params; what `template=` refers to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: str | None = None
    operations: tuple[StepBody, ...] = Field((), max_length=MAX_STEPS)
    params: FreeJson = Field(default_factory=dict)
    description: str = Field("", max_length=1000)
