"""The thread that talks to Kafka: seeks between fetches, and drops none that a seek overtook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka.errors import CommitFailedError, OffsetMetadataTooLargeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import ensure_TP
from faust.transport.drivers.aiokafka import ensure_aiokafka_TP
from faust.types import TP

from processor.faust_fixes.speed import PacedFetches

# Pause before the next look for active partitions, when there are none.
_NONE_ACTIVE_S = 0.02


class HardenedConsumerThread(PacedFetches):
    """AIOKafkaConsumerThread without the reads that Faust throws away."""

    fetches_overtaken = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Metadata of the commit that follows, by partition.
        self.commit_metadata: Mapping[TP, str] = {}
        self._takes_metadata = True

    def _create_worker_consumer(self, transport: Any) -> Any:
        """Make the client, with the rack of the settings.

        Stock: has no option for `client_rack`.

        Needed for: cost only; fetches cross availability zones without it.
        """
        consumer = super()._create_worker_consumer(transport)
        consumer._client_rack = self.app.settings.kafka_client_rack
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group on a clean stop."""
        self.give_up_membership()
        await super().on_thread_stop()

    def give_up_membership(self) -> None:
        """Become a dynamic member, which leaves its group when it stops.

        Stock: a static member never sends LeaveGroup, so the partitions of a worker that was
        stopped for good idle for the session timeout.

        Needed for: liveness.
        """
        if self.transport.leave_on_stop and self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None

    async def committed_metadata(self, tps: AbstractSet[TP]) -> dict[TP, str]:
        """Read the metadata of the partitions' commits; empty where there is no commit.

        Stock: reads the offsets alone.

        Needed for: cost only; a crash repeats what was done ahead without it.
        """
        partitions = [ensure_aiokafka_TP(tp) for tp in tps]
        commits = await self.call_thread(self._fetch_commits, partitions)
        return {ensure_TP(tp): commit.metadata or "" for tp, commit in commits.items()}

    async def _fetch_commits(self, partitions: list[Any]) -> dict[Any, OffsetAndMetadata]:
        return await self._ensure_consumer()._coordinator.fetch_committed_offsets(partitions)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets with their metadata; return whether that was done.

        Stock: commits without metadata.

        Needed for: cost only; a crash repeats what was done ahead without it.
        """
        metadata = self.commit_metadata if self._takes_metadata else {}
        commits = {
            ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, metadata.get(tp, ""))
            for tp, offset in offsets.items()
            if tp in self.assignment()
        }
        self.tp_last_committed_at.update(dict.fromkeys(offsets, time.monotonic()))
        try:
            await self._ensure_consumer().commit(commits)
        except OffsetMetadataTooLargeError:
            self._takes_metadata = False
            self.log.warning(
                "the broker's offset.metadata.max.bytes is under its default of 4096, so a crash "
                "of this worker repeats jobs that were done ahead of their turn"
            )
            return await self._commit(offsets)
        except CommitFailedError as error:
            if "already rebalanced" not in str(error):
                await self.crash(error)
            return False
        except Exception as error:  # noqa: BLE001 - the crash reports it
            await self.crash(error)
            return False
        return True

    def seek_soon(self, tp: TP, offset: int) -> asyncio.Future[None]:
        """Seek in the client's own thread, between its fetches; await it to know that it is done.

        Stock: seeks from the main thread; one in the middle of a fetch crashes the client
        (KeyError), and the fetcher may miss its wake-up.

        Needed for: liveness.
        """
        done = asyncio.run_coroutine_threadsafe(
            self._seek_if_assigned(tp, offset), self.thread_loop
        )
        return asyncio.wrap_future(done)

    async def _seek_if_assigned(self, tp: TP, offset: int) -> None:
        consumer = self._ensure_consumer()
        if tp in consumer.assignment():
            consumer.seek(ensure_aiokafka_TP(tp), offset)

    async def getmany(self, active_partitions: AbstractSet[TP] | None, timeout: float) -> Any:
        """Read from a frozen, never empty set of partitions.

        Stock: hands its live set to this thread; when that empties meanwhile, aiokafka takes it
        for "all", and Faust drops the records of paused partitions.

        Needed for: liveness.
        """
        frozen = frozenset(active_partitions or ())
        if not frozen:
            await asyncio.sleep(_NONE_ACTIVE_S)
            return {}
        return await super().getmany(frozen, timeout)

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: AbstractSet[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> Any:
        """Return nothing from a fetch that a seek has overtaken; go back to its first record.

        Stock (faust-streaming #216, #221): a fetch may wait across a whole rebalance; its records
        come back after the seek to the committed offset, are dropped because the partitions are
        paused, but have moved the position on: holes of one to dozens of messages a second after
        a rebalance.

        Needed for: liveness.
        """
        epoch = self.consumer.seek_epoch
        records = await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=max_records
        )
        if not records or epoch == self.consumer.seek_epoch:
            return records
        self.fetches_overtaken += 1
        for tp, batch in records.items():
            consumer.seek(tp, batch[0].offset)
        return {}
