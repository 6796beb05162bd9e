"""Parts of stock Faust and of ours, without a broker, on a client that the test drives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.types import TP
from faust.types.tuples import Message
from yarl import URL

from processor.faust_access import ConsumerAccess
from processor.faust_fixes.consumer import HardenedConsumer
from processor.faust_fixes.transport import HardenedTransport
from processor.messages.admission import Admission
from tests.support.edge import JOBS

OTHER = TP("jobs.normal", 1)
CHANGELOG = TP("jobs.state", 0)
BROKER = "kafka://127.0.0.1:1"


def both(stock: Any, hardened: Any) -> Any:
    """Run a test on stock Faust's class and on ours; `is_stock` is its second argument."""
    return pytest.mark.parametrize(
        ("kind", "is_stock"),
        [pytest.param(stock, True, id="stock"), pytest.param(hardened, False, id="hardened")],
    )


class ClientThread:
    """Stands in for the thread with the aiokafka client; records its calls."""

    def __init__(self) -> None:
        self.committed: list[dict[TP, int]] = []
        self.sought: list[tuple[TP, int]] = []
        self.committed_offsets: dict[TP, int] = {}
        self.metadata: dict[TP, str] = {}
        self.commit_metadata: dict[TP, str] = {}
        self.log_starts: dict[TP, int] = {}
        self.assigned = {JOBS, OTHER}

    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, tp: TP) -> int:
        return 0

    def seek(self, tp: TP, offset: int) -> None:
        self.sought.append((tp, offset))

    def seek_soon(self, tp: TP, offset: int) -> asyncio.Future[None]:
        self.sought.append((tp, offset))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def seek_to_committed(self) -> dict[TP, int]:
        # As aiokafka does: partitions without a commit, or with commit 0, are left where they are.
        for tp, offset in self.committed_offsets.items():
            if offset > 0:
                self.sought.append((tp, offset))
        return self.committed_offsets

    async def committed_metadata(self, tps: set[TP]) -> dict[TP, str]:
        return {tp: text for tp, text in self.metadata.items() if tp in tps}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return {tp: self.log_starts.get(tp, 0) for tp in tps}

    async def commit(self, offsets: dict[TP, int]) -> bool:
        self.committed.append(dict(offsets))
        self.metadata |= {tp: self.commit_metadata[tp] for tp in offsets if self.commit_metadata}
        return True


class RevokeListener:
    """Empties an admission that has no queues."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.on_revoke: Any = None

    async def revoke(self) -> None:
        if self.on_revoke is not None:
            self.on_revoke()
        self._admission.close()
        await self._admission.drain()


def receive(consumer: Any, received: Message) -> Callable[[], Any]:
    """Give a message to stock Faust, or to admission; return the function that acks it."""
    if not isinstance(consumer, HardenedConsumer):
        return lambda: consumer.ack(received)
    admission = consumer.app.admission
    admitted = admission.admit(received)
    return lambda: admission.done(admitted) if admitted is not None else None


async def committed(consumer: Any) -> dict[TP, int]:
    """Commit, and return the offsets that were committed."""
    before = len(consumer._thread.committed)
    await consumer.commit()
    return dict(pair for sent in consumer._thread.committed[before:] for pair in sent.items())


def make_app(*, leave_on_stop: bool = True) -> faust.App:
    """Make an app that is never started."""
    app = faust.App("defects", broker=BROKER, stream_wait_empty=False, topic_disable_leader=True)
    app.transport = HardenedTransport([URL(BROKER)], app, leave_on_stop=leave_on_stop)
    app.topics.acks_enabled_for = lambda topic: True
    app.consumer_generation_id = 1
    app.admission = Admission(ConsumerAccess(app, {}), grace_s=1.0)
    app.revoke_listener = RevokeListener(app.admission)
    return app


async def ignore(*_args: Any, **_kwargs: Any) -> None:
    return None


def make_consumer(kind: Any, **options: Any) -> Any:
    """Make a consumer of an app that is never started."""
    app = make_app(**options)
    consumer = kind(
        app.transport,
        callback=ignore,
        on_partitions_revoked=ignore,
        on_partitions_assigned=ignore,
    )
    consumer._thread.thread_loop.close()
    consumer._thread = ClientThread()
    app._consumer = consumer
    app._producer = SimpleNamespace(flush=ignore)
    return consumer


def message(offset: int, generation_id: int = 1, tp: TP = JOBS) -> Message:
    return Message(*tp, offset, 0.0, 0, [], b"k", b"v", None, tp=tp, generation_id=generation_id)


class AiokafkaClient:
    """Stands in for the aiokafka consumer, its fetcher and its coordinator."""

    def __init__(self) -> None:
        self._fetcher = self
        self._subscriptions = self
        self._closed = False
        self._max_poll_records = 50
        self._fetch_max_wait_ms = 1500
        self._fetch_min_bytes = 1
        self._prefetch_backoff = 0.1
        self._coordinator = SimpleNamespace(_group_instance_id="w1")
        self.asked: list[Any] = []
        self.sought: list[tuple[TP, int]] = []
        self.left_as: str | None = "running"
        self.during_fetch: Any = lambda: None
        self.offsets = [8, 9]

    def assignment(self) -> set[TP]:
        return {JOBS}

    def fetch_context(self) -> Any:
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exc: Any) -> None:
        return None

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        self.left_as = self._coordinator._group_instance_id

    async def fetched_records(self, partitions: Any, **_options: Any) -> Any:
        self.asked.append(set(partitions))
        self.during_fetch()
        return {JOBS: [SimpleNamespace(offset=offset) for offset in self.offsets]}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought.append((tp, offset))


def make_thread(kind: Any, **options: Any) -> tuple[Any, AiokafkaClient]:
    """Make a consumer's thread that runs in this one."""
    consumer = make_consumer(HardenedConsumer, **options)
    thread = kind(consumer, thread_loop=asyncio.get_running_loop())
    client = thread._consumer = AiokafkaClient()
    thread._create_consumer = lambda loop: client

    async def call_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    thread.call_thread = call_thread
    return thread, client
