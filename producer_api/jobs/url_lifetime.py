"""The lifetime of the URLs of results, which is shorter as soon as requests need keys."""

from __future__ import annotations

from imagemill.settings import ApiSettings
from producer_api.access.guard import Guard


class UrlLifetime:
    """Follows the guard: the first key shortens the URLs that are signed from then on.

    Longer ones, which processors or this API signed before, are signed again in documents.
    """

    def __init__(self, settings: ApiSettings, guard: Guard) -> None:
        self._settings = settings
        self._guard = guard

    @property
    def seconds(self) -> int:
        """Seconds from the signing on."""
        return self._settings.result_url_s(with_keys=self._guard.required)
