"""Settings of the commands that use the HTTP API, as `imagemill webhooks` does."""

from __future__ import annotations

from pydantic import Field, SecretStr

from imagemill.settings.environment import EnvironmentSettings


class CommandSettings(EnvironmentSettings):
    """Commands that use the HTTP API, such as `imagemill webhooks`."""

    url: str = Field(
        "http://127.0.0.1:8080", description="URL of the API that the commands send requests to"
    )
    api_key: SecretStr | None = Field(
        None, description="API key that the commands send; none is sent if unset"
    )
