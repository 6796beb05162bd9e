"""Tells Python's garbage collector what stays for good, once a service has started."""

from __future__ import annotations

import gc

# Allocations between two collections. Python's default of 700 suits scripts: under load it has
# the collector walk the thousands of messages in flight again and again.
_YOUNG = 50_000


def freeze_gc() -> None:
    """Take what is loaded now out of all later collections, and collect less often.

    Modules, models and their schemas are a few hundred thousand objects that never go away. Call
    it once, when start-up is over; reference counting frees most of what comes later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)
