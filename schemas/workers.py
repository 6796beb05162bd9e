"""What a worker tells of itself every few seconds, on `workers.heartbeats`."""

from __future__ import annotations

from pydantic import Field

from schemas.jobs import Frozen
from schemas.times import Timestamp


class KnownModel(Frozen):
    """A model that a worker knows; `here` tells whether its file is there."""

    name: str
    task: str
    summary: str = ""
    licence: str = "unknown"
    default: bool = False
    here: bool = False
    precisions: tuple[str, ...] = ("exact",)


class Heartbeat(Frozen):
    """A worker's last word. `slots` items can run at once, `busy` do, `waiting` are fetched."""

    ready: bool = Field(description="models are warm and partitions assigned")
    worker_id: str
    slots: int
    busy: int
    waiting: int
    version: str
    at: Timestamp
    host: str
    pid: int
    models: tuple[KnownModel, ...] = ()
