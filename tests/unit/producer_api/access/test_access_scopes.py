"""The table of scopes has every route, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagemill.settings import ApiSettings
from producer_api import app
from producer_api.access.scopes import PUBLIC, SCOPES, ScopesMissing, scopes_of
from producer_api.app import ROUTES, create_app

NEW = replace(ROUTES[0], method="DELETE", path="/v1/jobs/{job_id}/everything")


def test_every_route_is_in_the_table_and_no_other() -> None:
    assert scopes_of(ROUTES) == SCOPES


def test_an_api_with_a_route_that_is_not_in_the_table_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "ROUTES", (*ROUTES, NEW))
    settings = ApiSettings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]

    with pytest.raises(ScopesMissing, match="delete_v1_jobs_by_job_id_everything"):
        create_app(settings)


def test_public_are_health_documentation_console_and_signed_files_alone() -> None:
    public = {f"{route.method} {route.path}" for route in ROUTES if _is_public(route)}

    assert public == {
        "GET /healthz",
        "GET /readyz",
        "GET /health",
        "GET /docs",
        "GET /docs/viewer.js",
        "GET /openapi.json",
        "GET /",
        "GET /console/{name}",
        "GET /files/{key:.+}",
        "PUT /files/{key:.+}",
    }


def _is_public(route: app.Route) -> bool:
    return SCOPES[route.operation_id] == PUBLIC
