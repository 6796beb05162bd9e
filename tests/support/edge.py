"""The edge to the Kafka client, in memory: messages to admit, and sends to deliver."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka.producer.message_accumulator import MessageAccumulator
from faust.types import TP

from imagemill.settings import KafkaSettings
from processor.messages.admission import Admission
from processor.messages.publisher import Publisher
from processor.messages.topic_names import TopicNames
from schemas import cloudevents
from schemas.events import AnyEvent

JOBS = TP("jobs.normal", 0)


@dataclass
class Message:
    """A Kafka message as Faust passes it to an agent."""

    tp: TP
    offset: int
    key: bytes | None = b"job"
    value: bytes | None = b"{}"
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    generation_id: int = 1


@dataclass
class Partition:
    """A partition's log on the broker, and whether the client has paused it."""

    log_start: int = 0
    missing: frozenset[int] = frozenset()
    highwater: int = 0
    received_to: int = 0
    paused: bool = False


class Client:
    """Stands in for the consumer; records its seeks, and has the logs of the broker."""

    def __init__(self) -> None:
        self.generation = 1
        self.rebalancing = False
        self.sought: list[tuple[TP, int]] = []
        self.partitions: dict[TP, Partition] = {}
        self._delivered: dict[TP, set[int]] = {}
        self._admission: Admission | None = None

    def partition(self, tp: TP) -> Partition:
        """The partition; made at its first use."""
        return self.partitions.setdefault(tp, Partition())

    def seek_back(self, tp: TP, offset: int) -> None:
        """Do as HardenedConsumer.seek_back."""
        self.sought.append((tp, offset))

    async def first_at(self, tp: TP, offset: int) -> int:
        """Do as ConsumerAccess.first_at."""
        partition = self.partition(tp)
        offset = max(offset, partition.log_start)
        while offset in partition.missing:
            offset += 1
        return offset

    def highwater(self, tp: TP) -> int:
        """The end of the log."""
        return self.partition(tp).highwater

    def received_to(self, tp: TP) -> int:
        """Do as ConsumerAccess.received_to."""
        return self.partition(tp).received_to

    def is_paused(self, tp: TP) -> bool:
        """Do as ConsumerAccess.is_paused."""
        return self.partition(tp).paused

    def pause(self, tp: TP) -> None:
        """Do as ConsumerAccess.pause."""
        self.partition(tp).paused = True

    def resume(self, tp: TP) -> None:
        """Do as ConsumerAccess.resume."""
        self.partition(tp).paused = False

    @property
    def acked(self) -> list[int]:
        """Offsets of the messages that a commit would cover now, of one partition after another."""
        assert self._admission is not None
        return [
            offset
            for tp, watermark in self._admission.due().items()
            for offset in sorted(self._delivered[tp])
            if offset < watermark
        ]

    def message(self, offset: int, tp: TP = JOBS, **fields: Any) -> Message:
        """Make a message of the present generation."""
        self._delivered.setdefault(tp, set()).add(offset)
        fields.setdefault("generation_id", self.generation)
        return Message(tp, offset, **fields)

    def carrying(self, event: AnyEvent, offset: int, tp: TP = JOBS, **fields: Any) -> Message:
        """Make a message with an event in it."""
        value, headers = cloudevents.encode(event)
        key = event.job_id.encode()
        return self.message(
            offset, tp, **({"key": key, "value": value, "headers": headers} | fields)
        )

    def admission(self, grace_s: float = 5.0) -> Admission:
        """Make an admission on this client."""
        self._admission = Admission(self, grace_s)
        return self._admission


@dataclass
class Record:
    """The broker's answer to a send."""

    topic: str
    partition: int
    offset: int


@dataclass
class Sent:
    """A message in the producer, delivered or not."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None
    headers: list[tuple[str, bytes]] | None
    delivery: asyncio.Future[Record]

    @property
    def event(self) -> AnyEvent:
        """The event in it."""
        return cloudevents.decode(self.headers, self.value)


class Producer:
    """Stands in for Faust's producer; the test decides when a message is delivered."""

    def __init__(self, *, deliver: bool = True) -> None:
        self.deliver_at_once = deliver
        self.refuse: BaseException | None = None
        self.sent: list[Sent] = []

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: list[tuple[str, bytes]] | None,
    ) -> asyncio.Future[Record]:
        """Buffer a message, or fail as the client would."""
        if self.refuse is not None:
            raise self.refuse
        assert key is not None or value is not None, "Need at least one: key or value"
        delivery: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self.sent.append(Sent(topic, key, value, partition, headers, delivery))
        if self.deliver_at_once:
            self.deliver(self.sent[-1])
        return delivery

    def deliver(self, sent: Sent, offset: int = 0) -> None:
        """End the delivery of a message: all replicas have it."""
        sent.delivery.set_result(Record(sent.topic, sent.partition or 0, offset))

    def to(self, topic: str) -> list[Sent]:
        """Messages that were sent to one topic."""
        return [sent for sent in self.sent if sent.topic == topic]


class WaitingProducer(Producer):
    """A producer whose sends wait while the batch of a partition is full, as aiokafka's do."""

    def __init__(self) -> None:
        super().__init__()
        cluster = SimpleNamespace(leader_for_partition=lambda tp: 0)
        self._batches = MessageAccumulator(cluster, 1 << 14, 0, 30)

    async def send(self, topic: str, key: Any, value: Any, partition: Any, *rest: Any) -> Any:
        """Wait for space in the batch, then send as the base class does."""
        await self._batches.add_message(TP(topic, partition), key, value, 5, headers=rest[-1] or [])
        return await super().send(topic, key, value, partition, *rest)

    async def fill(self, topic: str) -> None:
        """Fill the next batch of the partition."""
        self.drain()
        await self._batches.add_message(TP(topic, 0), b"full", bytes(1 << 14), 5)

    def drain(self) -> None:
        """Empty all batches; the sends that wait go on in the next rounds of the loop."""
        self._batches.drain_by_nodes(())


TOPICS = TopicNames.of(KafkaSettings(_env_file=None, topic_prefix=""))  # type: ignore[call-arg]
SOURCE = "/imagemill/processor/w1"


class Crashes:
    """Records the errors that a worker crashed with."""

    def __init__(self) -> None:
        self.reasons: list[BaseException] = []

    async def __call__(self, reason: BaseException) -> None:
        self.reasons.append(reason)


class Edge:
    """A publisher and its admission, between a client and a producer that the test drives."""

    def __init__(self, producer: Producer | None = None) -> None:
        self.client, self.producer = Client(), producer or Producer()
        self.admission = self.client.admission()
        self.crashes = Crashes()
        self.publisher = Publisher(self.producer, self.admission, TOPICS, SOURCE, self.crashes)


async def settled() -> None:
    """Run the loop until no callback is left that is ready."""
    for _ in range(20):
        await asyncio.sleep(0)
