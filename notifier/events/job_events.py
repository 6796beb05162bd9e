"""Find the deliveries that a message about a job asks for: to its own webhook, and to endpoints."""

from __future__ import annotations

from confluent_kafka import Message

from notifier.endpoints import Endpoints
from notifier.events.bodies import ended_delivery
from notifier.events.progress import ProgressPosts, running_state
from schemas.cloudevents import decode
from schemas.events import JobFinished
from schemas.jobs import JobStatus, WebhookEvent
from schemas.times import from_epoch
from schemas.webhooks import WebhookDelivery


class JobEvents:
    """The events of `jobs.results` and `jobs.state`."""

    def __init__(self, endpoints: Endpoints, progress: ProgressPosts, states_topic: str) -> None:
        self._endpoints = endpoints
        self._progress = progress
        self._states_topic = states_topic

    def __len__(self) -> int:
        """Count the posts of progress under way."""
        return len(self._progress)

    def deliveries(self, message: Message) -> list[WebhookDelivery]:
        """Return what is to be delivered for certain; start to post the progress of a job.

        Raises:
            ValueError: the message cannot be decoded.
        """
        if message.topic() != self._states_topic:
            event = decode(message.headers(), message.value())
            return self.ended(event) if isinstance(event, JobFinished) else []
        state = running_state(message.value(), self._endpoints.subscribe_to_running)
        _, milliseconds = message.timestamp()
        return self._progress.observe(state, from_epoch(milliseconds / 1000)) if state else []

    def ended(self, event: JobFinished) -> list[WebhookDelivery]:
        """Return the deliveries of a job's end.

        Raises:
            ValueError: the style of the job's webhook is not known to this version.
        """
        kinds = [WebhookEvent.FINISHED]
        if event.status is JobStatus.FAILED:
            kinds.append(WebhookEvent.FAILED)
        found = [ended_delivery(kind, event) for kind in kinds]
        found += [
            ended_delivery(kind, event, endpoint)
            for kind in kinds
            for endpoint in self._endpoints.subscribed(event.owner, kind)
        ]
        return [delivery for delivery in found if delivery is not None]
