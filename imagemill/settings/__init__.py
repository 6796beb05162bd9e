"""Every setting of every service: environment variable, default, range, unit and effect.

One class for each service; settings that services share are in base classes. `imagemill config`
lists them all.
"""

from __future__ import annotations

from imagemill.settings.access import AccessSettings
from imagemill.settings.api import ApiSettings
from imagemill.settings.commands import CommandSettings
from imagemill.settings.environment import EnvironmentSettings
from imagemill.settings.kafka import KafkaSettings
from imagemill.settings.notifier import NotifierSettings
from imagemill.settings.processor import ProcessorSettings
from imagemill.settings.shared import LimitSettings, LogSettings, UrlSettings
from imagemill.settings.storage import StoreSettings

__all__ = [
    "PROGRAMS",
    "SERVICES",
    "AccessSettings",
    "ApiSettings",
    "CommandSettings",
    "EnvironmentSettings",
    "KafkaSettings",
    "LimitSettings",
    "LogSettings",
    "NotifierSettings",
    "ProcessorSettings",
    "StoreSettings",
    "UrlSettings",
]

SERVICES: dict[str, type[EnvironmentSettings]] = {
    "api": ApiSettings,
    "processor": ProcessorSettings,
    "notifier": NotifierSettings,
}
# The services, and the commands that use the API as any client does.
PROGRAMS: dict[str, type[EnvironmentSettings]] = SERVICES | {"command line": CommandSettings}
