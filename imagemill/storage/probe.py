"""A trial of a store, so that a missing permission shows before the first job needs it."""

from __future__ import annotations

import secrets

from imagemill.storage.base import ObjectStore
from imagemill.storage.errors import StoreUnavailable

_CONTENT = b"imagemill prepare"


def try_store(store: ObjectStore) -> None:
    """Store, read, list and delete an object below `probe/`.

    Raises:
        StoreUnavailable: the store refuses one of them; the text names what is missing.
    """
    key = f"probe/{secrets.token_hex(8)}.txt"
    store.put(key, _CONTENT, "text/plain")
    if store.get(key) != _CONTENT or [entry.key for entry in store.iter_keys(key)] != [key]:
        raise StoreUnavailable(f"the object store does not show {key}, which was just stored")
    store.delete(key)
