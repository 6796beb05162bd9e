"""Commands of the APIs to the notifier, on `webhooks.commands`: replay a delivery, post a test."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.jobs import WebhookEvent
from schemas.times import Timestamp
from schemas.webhooks.deliveries import delivery_id
from schemas.webhooks.record import EndpointId, WebhookRecord

_CommandId = Annotated[
    str,
    Field(
        min_length=1, max_length=128, description="Id of the command, unique to the request for it."
    ),
]


class WebhookReplay(WebhookRecord):
    """Post a delivery once more, under its `webhook-id`; its key is the delivery id.

    It is posted with today's URL, headers and secret of its endpoint, also while that is disabled.
    A failure is recorded, and is not retried. The body is that of the record at `offset`: the
    delivery on `webhooks.dead-letter`, or the successful attempt on `webhooks.attempts`.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.replay.v1"
    command_id: _CommandId
    delivery_id: str = Field(description="The `webhook-id` of the delivery.")
    topic: str = Field(
        description="Topic of the record with the body, without the prefix: `webhooks.dead-letter` "
        "or `webhooks.attempts`."
    )
    partition: int = Field(ge=0, description="Partition of the record with the body.")
    offset: int = Field(ge=0, description="Offset of the record with the body.")
    at: Timestamp = Field(description="Time of the request, RFC 3339 in UTC.")

    @property
    def event_id(self) -> str:
        """`<command id>/webhook.replay.v1/<delivery id>`: a command may replay many deliveries."""
        return f"{self.command_id}/webhook.replay.v1/{self.delivery_id}"

    @property
    def subject(self) -> str:
        """Id of the delivery."""
        return self.delivery_id


class WebhookTest(WebhookRecord):
    """Post a test event to an endpoint, also while it is disabled; the key is the endpoint id.

    It is one attempt, and counts as no failure. The body has the type and the form of the event,
    data that is made up, and `"test": true`.
    """

    TYPE: ClassVar[str] = "io.imagemill.webhook.test.v1"
    command_id: _CommandId
    endpoint_id: EndpointId
    event: WebhookEvent = Field(WebhookEvent.FINISHED, description="Type of the event to post.")
    at: Timestamp = Field(description="Time of the request, RFC 3339 in UTC.")

    @property
    def event_id(self) -> str:
        """`<command id>/webhook.test.v1`: a command posts one event."""
        return f"{self.command_id}/webhook.test.v1"

    @property
    def subject(self) -> str:
        """Id of the endpoint."""
        return self.endpoint_id

    @property
    def delivery_id(self) -> str:
        """The `webhook-id` of the test event, by which its attempt is found."""
        return delivery_id(self.event_id, self.endpoint_id)


WEBHOOK_COMMANDS: dict[str, type[WebhookReplay] | type[WebhookTest]] = {
    command.TYPE: command for command in (WebhookReplay, WebhookTest)
}
