"""Webhook deliveries of callers, and the commands that have the notifier post them once more."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from imagemill.kafka.producer import AsyncProducer
from imagemill.settings import ApiSettings
from producer_api.access.authenticate import authorize_change
from producer_api.access.caller import Caller
from producer_api.http.problems import Problem
from producer_api.ids import new_id
from producer_api.read_model.listing import Cursor
from producer_api.read_model.read_model import ReadModel
from producer_api.read_model.webhook_queries import DeliveryFilter
from producer_api.read_model.webhooks.rows import DeliveryRow, DeliveryStatus
from schemas import cloudevents, topics
from schemas.jobs import WebhookEvent
from schemas.times import now
from schemas.webhooks import WebhookAttempt, WebhookReplay, WebhookTest

# Deliveries that one request replays; each is a message to Kafka, and a row of 1 KB until then.
MAX_REPLAYED = 10_000
_COMMANDS = topics.WEBHOOKS_COMMANDS.name


class Posted(NamedTuple):
    """A post that a caller asked for; `attempt` is None if it did not end within the wait."""

    delivery_id: str
    attempt: WebhookAttempt | None


class Replayed(NamedTuple):
    """The outcome of a request to replay all failed deliveries."""

    replayed: int
    not_kept: int
    next_since: str | None


class Deliveries:
    """Reads and replays deliveries; each caller those that it may see."""

    def __init__(
        self, settings: ApiSettings, producer: AsyncProducer, read_model: ReadModel
    ) -> None:
        self._settings = settings
        self._producer = producer
        self._read_model = read_model

    async def page(
        self, wanted: DeliveryFilter, limit: int, after: Cursor | None
    ) -> tuple[list[DeliveryRow], Cursor | None]:
        """Return a page of deliveries, newest first, and the next page's cursor if there is one."""
        queries = self._read_model.long_webhooks
        return await asyncio.to_thread(queries.deliveries, wanted, limit, after)

    async def find(self, caller: Caller, delivery_id: str) -> DeliveryRow:
        """Return a delivery.

        Raises:
            Problem: 404 when no attempt at it is known, or the caller may not see it.
            ReadModelBehind, KafkaUnavailable: as `ReadModel.find`.
        """
        row = self._visible(caller, delivery_id)
        if row is None:
            # Also for one of another owner: the time of the answer must not reveal it.
            await self._read_model.catch_up()
            row = self._visible(caller, delivery_id)
        if row is None:
            raise Problem(404, "not_found", f"There is no webhook delivery {delivery_id[:64]}.")
        return row

    async def attempts(self, caller: Caller, delivery_id: str) -> list[WebhookAttempt]:
        """Return all attempts at a delivery, the first one first. Raises as `find`."""
        await self.find(caller, delivery_id)
        return self._read_model.webhooks.attempts(delivery_id)

    async def replay(self, caller: Caller, delivery_id: str, wait_s: float) -> Posted:
        """Have a delivery posted once more, and wait up to `wait_s` seconds for the attempt.

        Raises:
            Problem: 404 as `find`; 403 when it is another owner's, and the caller is no
                administrator; 409 when it is still tried, its body was not kept, or its endpoint
                was deleted.
        """
        row = await self.find(caller, delivery_id)
        authorize_change(caller, row.owner)
        if row.status == DeliveryStatus.PENDING:
            raise Problem(
                409,
                "delivery_pending",
                f"The delivery is still tried{f', next at {row.next_at}' if row.next_at else ''}.",
            )
        if row.topic is None:
            raise Problem(
                409,
                "body_not_kept",
                "The body was too large to be kept for a replay; read the job instead.",
            )
        if row.endpoint_id is not None and not self._has_endpoint(row.endpoint_id):
            raise Problem(
                409,
                "endpoint_deleted",
                f"The endpoint {row.endpoint_id} was deleted; create one and read the job instead.",
            )
        before = self._read_model.webhooks.attempt_count(delivery_id)
        await self._send_replay(row, f"cmd_{new_id()}")
        return await self._after_attempt(delivery_id, before, wait_s)

    async def replay_failed(self, endpoint_id: str, since: str) -> Replayed:
        """Have an endpoint's deliveries posted once more that were given up from a time on.

        Raises:
            ReadModelBehind, KafkaUnavailable: as `ReadModel.find`.
        """
        await self._read_model.catch_up()
        queries = self._read_model.long_webhooks
        rows = await asyncio.to_thread(queries.failed, endpoint_id, since, MAX_REPLAYED + 1)
        following = rows[MAX_REPLAYED].failed_at if len(rows) > MAX_REPLAYED else None
        if following is not None:
            # The next request begins with all that failed in that millisecond.
            earlier = [row for row in rows if row.failed_at != following]
            rows = earlier or rows[:MAX_REPLAYED]
        kept = [row for row in rows if row.topic is not None]
        command_id = f"cmd_{new_id()}"
        await asyncio.gather(*(self._send_replay(row, command_id) for row in kept))
        return Replayed(len(kept), len(rows) - len(kept), following)

    async def test(self, endpoint_id: str, event: WebhookEvent, wait_s: float) -> Posted:
        """Have a test event posted, and wait up to `wait_s` seconds for the attempt.

        Raises:
            KafkaUnavailable: the command cannot be written.
        """
        command = WebhookTest(
            command_id=f"cmd_{new_id()}", endpoint_id=endpoint_id, event=event, at=now()
        )
        await self._send(command)
        return await self._after_attempt(command.delivery_id, 0, wait_s)

    def _has_endpoint(self, endpoint_id: str) -> bool:
        kind = topics.WEBHOOKS_ENDPOINTS.name
        return self._read_model.queries.document(kind, endpoint_id) is not None

    def _visible(self, caller: Caller, delivery_id: str) -> DeliveryRow | None:
        row = self._read_model.webhooks.delivery(delivery_id)
        return row if row is not None and caller.sees(row.owner) else None

    async def _send_replay(self, row: DeliveryRow, command_id: str) -> None:
        assert row.topic is not None and row.partition is not None and row.offset is not None
        command = WebhookReplay(
            command_id=command_id,
            delivery_id=row.delivery_id,
            topic=row.topic,
            partition=row.partition,
            offset=row.offset,
            at=now(),
        )
        await self._send(command)

    async def _send(self, command: WebhookReplay | WebhookTest) -> None:
        value, headers = cloudevents.encode(command)
        topic = self._settings.topic(_COMMANDS)
        await self._producer.send(topic, command.subject.encode(), value, headers)

    async def _after_attempt(self, delivery_id: str, before: int, wait_s: float) -> Posted:
        """Wait until the delivery has more attempts than `before`; return the newest."""
        webhooks = self._read_model.webhooks

        def newest() -> WebhookAttempt | None:
            more = webhooks.attempt_count(delivery_id) > before
            return webhooks.attempts(delivery_id)[-1] if more else None

        return Posted(delivery_id, await self._read_model.wait_for(newest, wait_s))
