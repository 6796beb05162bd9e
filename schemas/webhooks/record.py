"""The base of the records and commands of webhooks, which belong to a job or to an endpoint."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field

from schemas.base import Frozen

ENDPOINT_ID = r"^ep_[A-Za-z0-9]{8,64}$"
EndpointId = Annotated[
    str,
    Field(
        pattern=ENDPOINT_ID, description="Id of the endpoint: `ep_` and 8 to 64 letters and digits."
    ),
]


class WebhookRecord(Frozen):
    """A message about a webhook. `TYPE` is its CloudEvents type."""

    TYPE: ClassVar[str]

    @property
    @abstractmethod
    def event_id(self) -> str:
        """CloudEvents id, derived from the content: the repeat after a crash has the same one."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """CloudEvents subject: the id of the job, or else of the endpoint."""

    @property
    def trace(self) -> str | None:
        """Traceparent: none, as posts are not part of the request's trace."""
        return None
