"""The services and their commands by module path: nothing here imports one before it is run."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

SERVICES = {
    "api": "producer_api.__main__:main",
    "processor": "processor.__main__:main",
    "notifier": "notifier.__main__:main",
}
MODELS = "processor.models.fetch.cli:main"
# What MODELS exits with where `fetch` brought some of the models, and could not bring the others.
SOME_MODELS = 3
RETENTION = "producer_api.jobs.retention_command:main"


def load(path: str) -> Callable[..., object]:
    """The function that "package.module:name" means."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
