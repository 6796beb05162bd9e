"""Settings that several services have: URLs, limits of a request, logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from imagemill.net.addresses import AddressPolicy
from imagemill.settings.environment import EnvironmentSettings, HomeSettings


class UrlSettings(EnvironmentSettings):
    """URLs that users give, of images and of webhooks."""

    url_allow: str = Field(
        "",
        description="host names and CIDRs, comma separated, that URLs may reach beside public "
        "addresses",
    )

    @field_validator("url_allow")
    @classmethod
    def _understood(cls, allow: str) -> str:
        AddressPolicy.parse(allow)
        return allow


class LimitSettings(UrlSettings):
    """Limits of a request, checked before anything is queued."""

    max_image_bytes: int = Field(25 * 1024 * 1024, ge=1, description="most bytes of one image")
    max_image_pixels: int = Field(
        50_000_000, ge=1, description="most pixels of one image, width times height"
    )
    max_items: int = Field(100, ge=1, le=2_000, description="most images of one job")
    max_field_bytes: int = Field(
        256 * 1024,
        ge=1024,
        description="most bytes of a JSON body, or of a form field that is no image",
    )
    url_timeout_s: float = Field(
        30.0, gt=0, description="most seconds to fetch an image from a URL, name lookup included"
    )


class WebhookKeySettings(HomeSettings):
    """The key that the secrets of webhook endpoints are encrypted with on their topic."""

    webhook_encryption_key: SecretStr | None = Field(
        None,
        description="base64 of the 32 bytes that encrypt the secrets of webhook endpoints, the "
        "same for all APIs and notifiers; several, comma separated, to replace it: the first "
        "encrypts, all decrypt. If unset, generated once into <home>/webhook.key",
    )


class LogSettings(EnvironmentSettings):
    """Logs of the services."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least severe level that is logged"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="a text line for each record, or a JSON object"
    )
