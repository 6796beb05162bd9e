"""The services and their commands as module paths, imported when one is run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

SERVICES = {
    "api": "producer_api.__main__:main",
    "processor": "processor.__main__:main",
    "notifier": "notifier.__main__:main",
}
MODELS = "processor.models.fetch.cli:main"
# Exit status of MODELS if `fetch` fetched some of the models but not all.
SOME_MODELS = 3
KEYS = "producer_api.access.keys.command:main"
FIRST_KEY = "producer_api.access.keys.command:create_first"
RETENTION = "producer_api.jobs.retention_command:main"


def load(path: str) -> Callable[..., object]:
    """Import the function that "package.module:name" names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
