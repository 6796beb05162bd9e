"""Shared by the services: settings, stores, Kafka clients, image checks, the command line.

`imagemill.Client` and `imagemill.AsyncClient` are the Python client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagemill.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # On demand: services and the command line should not wait for an HTTP client at their start.
    if name in ("AsyncClient", "Client"):
        from imagemill import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
