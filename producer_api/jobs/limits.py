"""Limits of one request, and of the jobs that wait."""

from __future__ import annotations

from dataclasses import dataclass

from imagemill.images.check import ImageLimits
from imagemill.settings import ApiSettings
from producer_api.http.multipart import FormLimits
from producer_api.http.rate_limits import LimitState, over_limit

_RETRY_AFTER_S = 10


@dataclass(frozen=True)
class RequestLimits:
    """Limits of the images and of the form of one request."""

    image: ImageLimits
    form: FormLimits

    @classmethod
    def of(cls, settings: ApiSettings) -> RequestLimits:
        """Take the limits from the settings."""
        return cls(
            ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
            FormLimits(settings.max_items, settings.max_field_bytes, settings.max_image_bytes),
        )


def check_queue_limit(queued: int, limit: int) -> None:
    """Raise Problem (429) when `limit` jobs or more are queued; to call before reading a body."""
    if queued >= limit:
        raise over_limit(
            "queue_full",
            f"{limit} jobs wait already. Try again in a while.",
            LimitState("queue", limit, 0, _RETRY_AFTER_S, unit="jobs"),
        )
