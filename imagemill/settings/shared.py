"""Settings that several services have: URLs, limits of a request, logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from imagemill.net.addresses import AddressPolicy
from imagemill.settings.environment import EnvironmentSettings


class UrlSettings(EnvironmentSettings):
    """What URLs that users name, of images and of webhooks, may reach."""

    url_allow: str = Field(
        "",
        description="comma separated host names and CIDRs that URLs may reach though not public",
    )

    @field_validator("url_allow")
    @classmethod
    def _understood(cls, allow: str) -> str:
        AddressPolicy.parse(allow)
        return allow


class LimitSettings(UrlSettings):
    """What a request may hold; checked before anything is queued."""

    max_image_bytes: int = Field(25 * 1024 * 1024, ge=1, description="bytes of one image")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels of one image")
    max_items: int = Field(100, ge=1, le=2_000, description="images of one job")
    max_field_bytes: int = Field(
        256 * 1024, ge=1024, description="bytes of a form field or JSON body that is no image"
    )
    url_timeout_s: float = Field(
        30.0, gt=0, description="seconds to fetch an image from a URL, name lookup included"
    )


class LogSettings(EnvironmentSettings):
    """How services log."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="level")
    log_format: Literal["text", "json"] = Field("text", description="one sentence, or JSON lines")
