"""GET /v1/models gathers what living workers tell."""

from __future__ import annotations

from typing import Any

import pytest

from producer_api.routes.operations import models_view


def beat(worker: str, *, alive: bool = True, **here: bool) -> dict[str, Any]:
    models = [{"name": name, "task": "remove-background", "here": is_here} for name, is_here in
              here.items()]  # fmt: skip
    return {"worker_id": worker, "alive": alive, "models": models}


def test_a_model_is_here_when_one_living_worker_has_it():
    views = models_view([
        beat("a", u2netp=True, silueta=False),
        beat("b", u2netp=True, silueta=False),
        beat("gone", alive=False, silueta=True),
    ])  # fmt: skip

    assert [(view["name"], view["here"], view["workers"]) for view in views] == [
        ("silueta", False, []),
        ("u2netp", True, ["a", "b"]),
    ]


def test_a_worker_of_another_version_tells_of_no_models():
    assert models_view([{"worker_id": "old", "alive": True}]) == []


@pytest.mark.parametrize("models", [["u2netp"], [{}], "u2netp", None, [{"name": 1, "task": "x"}]])
def test_models_that_are_none_are_left_out(models: object) -> None:
    assert models_view([{"worker_id": "a", "alive": True, "models": models}]) == []
