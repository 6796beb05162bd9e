"""The two bases of all models: `Frozen` is what services write, `Strict` what clients send."""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Annotated, Any, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic import Strict as StrictMode


class Frozen(BaseModel):
    """Immutable; ignores fields that it does not know, since newer writers may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def trusted(cls, **fields: Any) -> Self:
        """Build an instance from valid values without validating them; the rest gets its defaults.

        Like pydantic's model_construct, in a fifth of the time: a job builds ten of these. The
        names are checked unless Python runs with -O.

        Raises:
            AssertionError: a required field is missing, or a name is no field of the model.
        """
        assert _required(cls) <= fields.keys(), _wrong_names(cls, fields)
        return _bare(cls, {**_defaults(cls), **fields})

    @classmethod
    def from_all(cls, values: dict[str, Any]) -> Self:
        """Build an instance from the values of all its fields, as `trusted`; it keeps the dict.

        Raises:
            AssertionError: the keys are not exactly the model's fields.
        """
        return _bare(cls, values)

    def evolve(self, **changes: Any) -> Self:
        """Copy the instance with some fields replaced by valid values, as `trusted`.

        Raises:
            AssertionError: a name is no field of the model.
        """
        return _bare(type(self), {**self.__dict__, **changes})


def _bare(model: type[Any], values: dict[str, Any]) -> Any:
    assert values.keys() == _fields(model), _wrong_names(model, values)
    made = model.__new__(model)
    _set_slot(made, "__dict__", values)
    _set_slot(made, "__pydantic_fields_set__", _fields(model))
    _set_slot(made, "__pydantic_extra__", None)
    _set_slot(made, "__pydantic_private__", None)
    return made


_set_slot = object.__setattr__


def _wrong_names(model: type[BaseModel], values: dict[str, Any]) -> str:
    missing = sorted(_fields(model) - values.keys())
    unknown = sorted(values.keys() - _fields(model))
    return f"{model.__name__}: missing {missing}, unknown {unknown}"


@cache
def _fields(model: type[BaseModel]) -> set[str]:
    # One set for all instances: they are frozen, so nothing changes it.
    return set(model.model_fields)


@cache
def _required(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if field.is_required())


@cache
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    # Placeholders of required fields keep the JSON in the order of the fields.
    return {
        name: None if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
    }


T = TypeVar("T")
# A JSON array as a tuple, which pydantic's strict mode takes from a tuple alone.
Array = Annotated[tuple[T, ...], StrictMode(False)]
# A character that no reader of regular expressions counts as white space: JSON Schema's dialect,
# Rust's (pydantic) and Python's differ in U+001C to U+001F, U+0085 and U+FEFF.
NOT_BLANK = r"[^\s\x1c-\x1f\x85\uFEFF]"


class Strict(BaseModel):
    """Accepts the JSON that the model's published JSON Schema accepts, and no other.

    Nothing is converted: `"80"`, `true` and `1` are a string, a boolean and a number. A number
    without a fraction is an integer however it is written, 80 or 80.0. Unknown fields are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _integers(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {
            name: integral(value) if name in _integer_fields(cls) else value
            for name, value in data.items()
        }


def given(*names: str) -> dict[str, Any]:
    """Return the JSON Schema clause that all these fields are there, and not null.

    Models put the rules that span several fields into their schema by it, beside the validator.
    """
    return {
        "required": list(names),
        "properties": {name: {"not": {"type": "null"}} for name in names},
    }


def integral(value: Any) -> Any:
    """Return a float without a fraction as an int, and any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@cache
def _integer_fields(model: type[BaseModel]) -> frozenset[str]:
    fields = model.model_fields.items()
    return frozenset(name for name, field in fields if _takes_int(field.annotation))


def _takes_int(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _takes_int(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return any(map(_takes_int, get_args(annotation)))
    return annotation is int
