"""The control topic: cancel and expiry requests become events of their jobs."""

from __future__ import annotations

from processor.messages.admission import AdmittedMessage
from processor.messages.publisher import Delivery, Publisher
from schemas import cloudevents
from schemas.cloudevents import Encoded
from schemas.events import Fact, JobClaimed


class ControlTopic:
    """Forwards requests to `jobs.events`, where the tracker sees them in the order of the job.

    So one process decides whether a cancel request or the job's end came first (guarantee 6).
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def forward(self, admitted: AdmittedMessage) -> None:
        """Forward an admitted request; ack it when it is delivered."""
        await self._publisher.process(admitted, self._forward(admitted))

    async def _forward(self, admitted: AdmittedMessage) -> list[Delivery]:
        message = admitted.message
        try:
            event = cloudevents.decode(message.headers, message.value)
            if isinstance(event, JobClaimed):
                # Not for the processor: with it the APIs agree which of them publishes the job.
                return []
            if not isinstance(event, Fact):
                raise cloudevents.DecodeError(f"{event.TYPE} does not belong on this topic")
        except cloudevents.DecodeError as error:
            # Guarantee 5.
            return [await self._publisher.dead_letter(admitted, str(error))]
        # Others may publish requests too, under another key: then only a hash finds the partition.
        same_key = event.job_id.encode() == message.key
        partition = admitted.tp.partition if same_key else None
        encoded = Encoded(message.value, list(message.headers))
        return [await self._publisher.encoded_event(event.job_id, encoded, partition)]
