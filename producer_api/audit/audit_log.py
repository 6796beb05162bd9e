"""Writes audit records to their topic without holding up the requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from imagemill.kafka.errors import KafkaUnavailable
from schemas.audit import AuditOutcome, AuditRecord

log = logging.getLogger(__name__)

# Records that wait for the broker; at 500 bytes each that is some 5 MB.
_MAX_WAITING = 10_000
# Of refused requests: otherwise whoever sends many without a key would displace all others.
_MAX_WAITING_REFUSED = _MAX_WAITING // 2
# Records sent at once.
_BATCH = 200
# Seconds between two attempts while the broker does not take records.
_RETRY_S = 1.0
# Seconds between two log lines on records that were dropped.
_LOG_EVERY_S = 60.0
_HEADERS = [("content-type", b"application/json")]


class Sender(Protocol):
    """The part of AsyncProducer that is used here."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Send a message; raises KafkaUnavailable if it was not acknowledged."""
        ...


@dataclass(frozen=True)
class _Waiting:
    key: bytes
    value: bytes
    refused: bool


class AuditLog:
    """A bounded queue of records, and the task that sends them.

    While the broker is away records wait; when the queue is full further ones are dropped, counted
    in /metrics and logged. No request waits for its record or fails without one.
    """

    def __init__(
        self,
        producer: Sender,
        topic: str,
        *,
        max_waiting: int = _MAX_WAITING,
        max_waiting_refused: int = _MAX_WAITING_REFUSED,
    ) -> None:
        """Write to `topic`; the limits are in records, of refused requests and of all."""
        self._producer = producer
        self._topic = topic
        self._max_waiting = max_waiting
        self._max_waiting_refused = max_waiting_refused
        self._waiting: deque[_Waiting] = deque()
        self._waiting_refused = 0
        self._arrived = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._closing = False
        self._written = 0
        self._dropped = 0
        self._next_line_s = 0.0

    def start(self) -> None:
        """Start to send."""
        self._sending = asyncio.create_task(self._send_all(), name="audit")

    async def close(self, timeout_s: float = 5.0) -> None:
        """Send the records that wait, for `timeout_s` seconds at most, and stop."""
        if self._sending is None:
            return
        self._closing = True
        self._arrived.set()
        await asyncio.wait([self._sending], timeout=timeout_s)
        self._sending.cancel()
        if self._waiting:
            self._dropped += len(self._waiting)
            log.error("%d audit records were lost at the end of the process", len(self._waiting))

    def write(self, record: AuditRecord) -> None:
        """Queue a record, or drop it if too many wait."""
        refused = record.outcome is AuditOutcome.REFUSED
        full = len(self._waiting) >= self._max_waiting
        if full or (refused and self._waiting_refused >= self._max_waiting_refused):
            return self._drop()
        key = record.owner or record.actor
        value = record.model_dump_json(exclude_none=True)
        self._waiting.append(_Waiting(key.encode(), value.encode(), refused))
        self._waiting_refused += refused
        self._arrived.set()

    def collect(self) -> Iterator[Metric]:
        """Yield the counts of records for Prometheus."""
        yield CounterMetricFamily(
            "imagemill_audit_written", "Audit records that the broker has", value=self._written
        )
        yield CounterMetricFamily(
            "imagemill_audit_dropped",
            "Audit records that were lost, as too many waited for the broker",
            value=self._dropped,
        )
        yield GaugeMetricFamily(
            "imagemill_audit_waiting",
            "Audit records that wait for the broker",
            value=len(self._waiting),
        )

    def _drop(self) -> None:
        self._dropped += 1
        self._log(
            "audit records are dropped, as %d wait for the broker; %d were dropped since the start",
            len(self._waiting),
            self._dropped,
        )

    def _log(self, line: str, *values: object) -> None:
        """Log an error, one a minute at most: each request may cause one."""
        if time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + _LOG_EVERY_S
            log.error(line, *values)

    async def _send_all(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                if await self._send_batch():
                    await asyncio.sleep(_RETRY_S)

    async def _send_batch(self) -> bool:
        """Send the oldest records; return True if the broker did not take all of them."""
        batch = tuple(islice(self._waiting, _BATCH))
        outcomes = await asyncio.gather(
            *(self._producer.send(self._topic, r.key, r.value, _HEADERS) for r in batch),
            return_exceptions=True,
        )
        # Only at the end were records added meanwhile.
        for _ in batch:
            self._waiting.popleft()
        failed = [(r, error) for r, error in zip(batch, outcomes, strict=True) if error is not None]
        self._waiting.extendleft(record for record, _ in reversed(failed))
        self._written += len(batch) - len(failed)
        self._waiting_refused = sum(record.refused for record in self._waiting)
        for _, error in failed:
            if not isinstance(error, KafkaUnavailable):
                raise error
            self._log("audit records wait for the broker: %s", error)
        return bool(failed)
