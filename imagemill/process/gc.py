"""Settings of Python's garbage collector for a long-running service."""

from __future__ import annotations

import gc

# Allocations between two collections of the youngest generation. With Python's default of 700 the
# collector walks thousands of messages in flight again and again under load.
_ALLOCATIONS_PER_COLLECTION = 50_000


def freeze_gc() -> None:
    """Exclude all present objects from later collections, and collect less often.

    Modules, models and their schemas are a few hundred thousand objects that live as long as the
    process. Call this once, after start-up; reference counting frees most later objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION, 20, 50)
