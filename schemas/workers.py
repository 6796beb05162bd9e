"""The heartbeat that a worker writes every few seconds, on `workers.heartbeats`."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Frozen
from schemas.times import Timestamp


class KnownModel(Frozen):
    """A model that a worker knows of."""

    name: str = Field(description="Name of the model, as a job's params choose it.")
    task: str = Field(description="Task of the model, such as remove-background.")
    summary: str = Field("", description="One sentence about the model, for people.")
    licence: str = Field("unknown", description="Licence of the model's weights.")
    default: bool = Field(
        False, description="True if jobs that name no model run this one for the task."
    )
    here: bool = Field(False, description="True if the model's file is on the worker's disk.")
    precisions: tuple[str, ...] = Field(
        ("exact",), description="Precisions that the worker computes the model in."
    )


class Heartbeat(Frozen):
    """The last report of a worker on itself."""

    ready: bool = Field(description="True if models are warm and partitions assigned.")
    worker_id: str = Field(description="Id of the worker, unique and stable over restarts.")
    slots: int = Field(ge=0, description="Items that can run at once.")
    busy: int = Field(ge=0, description="Items that run now.")
    waiting: int = Field(ge=0, description="Items that are fetched and wait for a slot.")
    version: str = Field(description="Version of imagemill that the worker runs.")
    at: Timestamp = Field(description="Time of the heartbeat, RFC 3339 in UTC.")
    host: str = Field(description="Name of the machine.")
    pid: int = Field(ge=0, description="Process id on that machine.")
    models: tuple[KnownModel, ...] = Field((), description="Models that the worker knows of.")
