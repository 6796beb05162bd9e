"""Logging of the services: a text line for each record, or a JSON object for a collector."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from imagemill.settings import LogSettings

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Libraries whose INFO records help only their own developers.
_QUIET = (
    "aiokafka",
    "botocore",
    "boto3",
    "urllib3",
    "aiohttp.access",
    "PIL",
    "azure",
    "faust",
    "mode",
)


def configure_logging(settings: LogSettings) -> None:
    """Log to standard error, with the level and the format of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        fields = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter(_TEXT, rename_fields=fields))
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    if settings.log_level != "DEBUG":
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)
