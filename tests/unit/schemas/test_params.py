"""Params and templates are validated exactly as their published JSON Schemas say."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from schemas.catalog import BUILTIN, find_operation
from schemas.params.remove_background import RemoveBackgroundParams
from schemas.params.transform import TransformParams
from schemas.templates import StepBody, Template
from tests.support.json_values import accepts, near

MODELS = {spec.name: spec.params for spec in BUILTIN} | {"step": StepBody, "template": Template}
SCHEMAS = {name: model.model_json_schema() for name, model in MODELS.items()}
VALUES = {name: near(schema) for name, schema in SCHEMAS.items()}
LAW = settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])


def _is_valid(model: type[BaseModel], value: Any) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True


def _is_beyond_schemas(model: type[BaseModel], value: Any) -> bool:
    """True if only a comparison of two fields makes it invalid: no JSON Schema can say that."""
    if model is not RemoveBackgroundParams or not isinstance(value, dict):
        return False
    low = value.get("alpha_matting_background_threshold", 10)
    high = value.get("alpha_matting_foreground_threshold", 240)
    return low >= high


@pytest.mark.parametrize("name", MODELS)
@LAW
@given(data=st.data())
def test_schema_and_validation_give_the_same_verdict(name: str, data: st.DataObject) -> None:
    model, value = MODELS[name], data.draw(VALUES[name])
    valid = accepts(SCHEMAS[name], value)
    if valid and _is_beyond_schemas(model, value):
        assert not _is_valid(model, value)
        return
    assert _is_valid(model, value) == valid, value


@pytest.mark.parametrize("name", MODELS)
@LAW
@given(data=st.data())
def test_the_normal_form_is_valid_and_means_the_same(name: str, data: st.DataObject) -> None:
    """Params travel as the API dumps them, and the worker validates them again."""
    model, value = MODELS[name], data.draw(VALUES[name])
    if not _is_valid(model, value):
        return
    params = model.model_validate(value)
    normal = params.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert accepts(SCHEMAS[name], normal)
    assert model.model_validate(json.loads(json.dumps(normal))) == params


@pytest.mark.parametrize("spec", BUILTIN, ids=lambda spec: spec.name)
def test_a_good_share_of_the_drawn_values_is_valid(spec: Any) -> None:
    """Otherwise the laws above would hold of anything that refuses all."""
    seen = {True: 0, False: 0}

    @settings(max_examples=200, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(VALUES[spec.name])
    def draw(value: Any) -> None:
        seen[_is_valid(spec.params, value)] += 1

    draw()
    assert seen[True] > 10 and seen[False] > 10, seen


@pytest.mark.parametrize(
    ("operation", "params", "field"),
    [
        ("transform", {"format": "jpeg", "quality": True}, "quality"),
        ("transform", {"format": "jpeg", "quality": "80"}, "quality"),
        ("transform", {"format": "jpeg", "quality": 80.5}, "quality"),
        ("transform", {"format": "jpeg", "quality": 10**400}, "quality"),
        ("transform", {"strip_metadata": "yes"}, "strip_metadata"),
        ("transform", {"strip_metadata": 1}, "strip_metadata"),
        ("transform", {"strip_metadata": None}, "strip_metadata"),
        ("transform", {"steps": "grayscale"}, "steps"),
        ("transform", {"steps": {"do": "grayscale"}}, "steps"),
        ("transform", {"steps": [{"do": "resize", "width": "80"}]}, "steps.0.resize.width"),
        ("transform", {"steps": [{"do": "rotate", "degrees": True}]}, "steps.0.rotate.degrees"),
        ("transform", {"steps": [{"do": "blur", "sigma": "1"}]}, "steps.0.blur.sigma"),
        (
            "transform",
            {"steps": [{"do": "background", "color": [True, 0, 0]}]},
            "steps.0.background.color.0",
        ),
        (
            "transform",
            {"steps": [{"do": "background", "color": " #fff "}]},
            "steps.0.background.color",
        ),
        ("detect-objects", {"confidence": True}, "confidence"),
        ("detect-objects", {"confidence": "0.5"}, "confidence"),
        ("detect-objects", {"max_detections": False}, "max_detections"),
        ("detect-objects", {"annotate": "true"}, "annotate"),
        ("detect-objects", {"classes": "cup"}, "classes"),
        ("detect-objects", {"classes": [1]}, "classes.0"),
        ("remove-background", {"model": 5}, "model"),
        ("remove-background", {"crop": 0}, "crop"),
        ("remove-background", {"format": ["png"]}, "format"),
        ("read-text", {"find": "\ufeff\x85"}, "find"),
        ("read-text", {"model": "ppocr\n"}, "model"),
        ("process-image-and-text", {"text": 5}, "text"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_field(
    operation: str, params: dict[str, Any], field: str
) -> None:
    spec = find_operation(operation)
    assert spec is not None
    with pytest.raises(ValidationError) as caught:
        spec.params.model_validate(params)
    fields = [".".join(map(str, error["loc"])) for error in caught.value.errors()]
    # A list without its bad item may be too short as well.
    assert fields[0] == field and all(field.startswith(f"{other}.") for other in fields[1:])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    for operation, params in [
        ("detect-objects", {"confidence": number}),
        ("detect-objects", {"max_detections": number}),
        ("transform", {"steps": [{"do": "rotate", "degrees": number}]}),
        ("transform", {"steps": [{"do": "background", "color": [number, 0, 0]}]}),
    ]:
        assert not _is_valid(MODELS[operation], params)


@pytest.mark.parametrize("quality", [80, 80.0])
def test_a_number_without_fraction_is_an_integer(quality: float) -> None:
    params = TransformParams.model_validate({"format": "jpeg", "quality": quality})
    assert params.model_dump_json(include={"quality"}) == '{"quality":80}'


def test_a_bare_name_is_a_step() -> None:
    template = Template.model_validate({"operations": ["noop", {"operation": "noop"}]})
    assert template.operations[0] == template.operations[1] == StepBody(operation="noop")
