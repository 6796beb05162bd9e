"""Access: the scopes that a caller's key or token can have."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """A kind of request that a caller may make."""

    JOBS_WRITE = "jobs:write"
    """Submit and cancel jobs, upload images."""
    JOBS_READ = "jobs:read"
    """Read jobs, their items and events, statistics, operations and templates."""
    RESULTS_READ = "results:read"
    """Read input and result files."""
    WEBHOOKS = "webhooks"
    """Create, read and change webhook endpoints, read deliveries, and replay them."""
    MODELS = "models"
    """Read models and workers."""
    ADMIN = "admin"
    """Manage keys, see and change everything of every owner."""
