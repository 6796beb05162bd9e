"""Settings of who may call the API."""

from __future__ import annotations

from pydantic import Field

from imagemill.settings.environment import EnvironmentSettings, named


class OpenSettings(EnvironmentSettings):
    """The choice of an API that serves everybody."""

    open_without_keys: bool = Field(
        False,
        validation_alias=named("IMAGEMILL_OPEN"),
        description="whether an API that the network reaches serves everybody while there is no "
        "API key; as soon as there is one, requests need it",
    )


class AccessSettings(OpenSettings):
    """Who may call the API."""

    access_basic: bool = Field(
        False,
        description="whether API keys are taken as the password of HTTP Basic, for clients that "
        "can send no other header",
    )
    access_query: bool = Field(
        False,
        description="whether API keys are taken as ?key=, for clients that can send no header; "
        "proxies and browsers write URLs into logs and histories",
    )
