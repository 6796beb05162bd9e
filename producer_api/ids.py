"""Ids of jobs and uploads: made by time, chosen by the client, or derived from its key."""

from __future__ import annotations

import re
import secrets
import time
import uuid

from schemas.jobs import CLIENT_JOB_ID

_CLIENT_ID = re.compile(CLIENT_JOB_ID)
_SIZED_UPLOAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-([0-9]{1,12})b")
_KEYED_ID = re.compile(r"key-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY_NAMESPACE = uuid.UUID("6f1d3c1e-7c0e-5b7a-9f51-0d6b1f3a2c44")


def new_id() -> str:
    """Make a UUIDv7: later ids sort later, so that indexes grow at their end."""
    milliseconds = time.time_ns() // 1_000_000
    digits = f"{milliseconds:012x}7{secrets.token_hex(10)}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def is_job_id(text: str) -> bool:
    """Return whether a job of a client may have this id: 8 to 64 letters, digits, `_` and `-`."""
    return _CLIENT_ID.fullmatch(text) is not None


def may_be_chosen(text: str) -> bool:
    """Return whether a client may choose this id: that of an owner's Idempotency-Key it may not.

    Others can compute that one. By asking for it they would learn whether the owner has used the
    key, and could take the id before it does.
    """
    return is_job_id(text) and _KEYED_ID.fullmatch(text) is None


def id_of_key(key: str, owner: str | None) -> str:
    """Derive the job id of an owner's Idempotency-Key; every API process derives the same one.

    Two owners may use one key: each has a namespace of its own, of ids that no client may choose.
    """
    if owner is None:
        return str(uuid.uuid5(_KEY_NAMESPACE, key))
    return f"key-{uuid.uuid5(uuid.uuid5(_KEY_NAMESPACE, owner), key)}"


def sized_upload_id(upload_id: str, size: int | None) -> str:
    """Return the id of an upload that must have `size` bytes; of any size for None.

    The id is part of the object's key, which is signed: so the promise needs no record, and no
    client can change it.
    """
    return upload_id if size is None else f"{upload_id}-{size}b"


def size_of_upload(upload_id: str) -> int | None:
    """Return the size in bytes that the id of an upload promises; None if it promises none."""
    promised = _SIZED_UPLOAD.fullmatch(upload_id)
    return int(promised[1]) if promised else None
